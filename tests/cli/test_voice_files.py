"""`kouji voice import | export`: speakers of a spk2info.pt to voices and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kouji.cli import run
from kouji.voices import VoiceStore
from kouji.voices.consent import attest
from kouji.voices.voice import Voice

pytestmark = pytest.mark.usefixtures("home_dir")


def zero_shot(num_tokens: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """What the official code stores of a zero-shot speaker."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 6561, (1, num_tokens), generator=rng, dtype=torch.int32)
    vector = torch.randn(1, 192, generator=rng)
    return {
        "prompt_text": torch.tensor([[9, 151_646, 4, 7]], dtype=torch.int32),
        "prompt_text_len": torch.tensor([4], dtype=torch.int32),
        "llm_prompt_speech_token": tokens,
        "llm_prompt_speech_token_len": torch.tensor([num_tokens], dtype=torch.int32),
        "flow_prompt_speech_token": tokens,
        "flow_prompt_speech_token_len": torch.tensor([num_tokens], dtype=torch.int32),
        "prompt_speech_feat": torch.randn(1, 2 * num_tokens, 80, generator=rng),
        "prompt_speech_feat_len": torch.tensor([2 * num_tokens], dtype=torch.int32),
        "llm_embedding": vector,
        "flow_embedding": vector,
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "spk2info.pt"
    torch.save({"anna": zero_shot(), "中文女": {"embedding": torch.ones(1, 192)}}, path)
    return path


def voice(*arguments: str | Path) -> int:
    return run(["voice", *map(str, arguments)])


def audit(home: Path) -> list[dict[str, Any]]:
    path = home / "audit.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def test_all_speakers_are_kept_with_consent_and_written_down(file: Path, home_dir: Path) -> None:
    assert voice("import", file, "--attest") == 0
    store = VoiceStore(home_dir)
    anna, fixed = store.get("anna"), store.get("中文女")
    assert anna.imported is not None
    assert fixed.imported is not None
    official = zero_shot()
    arrays = anna.imported.arrays
    assert np.array_equal(arrays["tokens"], official["flow_prompt_speech_token"][0])
    assert np.array_equal(arrays["mel"], official["prompt_speech_feat"][0])
    assert np.array_equal(arrays["speaker"], official["flow_embedding"][0])
    assert arrays["prompt_text"].tolist() == [9, 151_646, 4, 7]
    assert len(fixed.imported.arrays["tokens"]) == 0
    assert anna.model == "cosyvoice3"
    lines = audit(home_dir)
    assert [line["event"] for line in lines] == ["voice.import"] * 2
    assert {line["voice"] for line in lines} == {anna.content_hash, fixed.content_hash}
    assert {line["consent"] for line in lines} == {"attest"}


def test_one_speaker_under_another_name(
    file: Path, home_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--only", "anna", "--name", "Anna B", "--model", "cosyvoice2", "--language", "en")
    assert voice("import", file, "--attest", *chosen) == 0
    kept = VoiceStore(home_dir).get("Anna B")
    assert (kept.name, kept.model, kept.language) == ("Anna B", "cosyvoice2", "en")
    assert len(VoiceStore(home_dir).list()) == 1
    assert voice("list") == 0
    assert "for cosyvoice2" in capfd.readouterr().out
    assert voice("show", "Anna B", "--json") == 0
    assert json.loads(capfd.readouterr().out)["imported"] == "cosyvoice2"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "speaker's consent"),
        (["--attest", "--only", "eve"], "allowed: anna"),
        (["--attest", "--name", "both"], "--only"),
        (["--attest", "--model", "mini"], "allowed: cosyvoice3, cosyvoice2"),
        (["--attest", "--language", "xx"], "unknown language"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_kept(
    file: Path, home_dir: Path, arguments: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert voice("import", file, *arguments) != 0
    assert told in capfd.readouterr().err
    assert VoiceStore(home_dir).list() == []
    assert audit(home_dir) == []


def test_an_attestation_is_not_enough_where_consents_are_verified(
    file: Path, home_dir: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KOUJI_CONSENT", "verify")
    assert voice("import", file, "--attest") == 1
    assert "was not verified" in capfd.readouterr().err
    assert VoiceStore(home_dir).list() == []


def test_a_name_that_is_taken_keeps_none_of_them(
    file: Path, home_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert voice("import", file, "--attest", "--only", "anna") == 0
    assert voice("import", file, "--attest") == 1
    assert "anna" in capfd.readouterr().err
    assert len(VoiceStore(home_dir).list()) == 1


def test_a_revoked_speaker_is_not_taken_again_silently(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert voice("import", file, "--attest", "--only", "anna") == 0
    assert voice("revoke", "anna") == 0
    assert voice("remove", "anna") == 0
    capfd.readouterr()
    assert voice("import", file, "--attest", "--only", "anna") == 0
    assert "was revoked" in capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no torch file", "cut", {"anna": 3}, [1, 2]])
def test_a_file_that_holds_no_speakers_is_told(
    content: Any, file: Path, home_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if content == "cut":
        file.write_bytes(file.read_bytes()[:400])
    elif isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    assert voice("import", file, "--attest") != 0
    assert "spk2info.pt" in capfd.readouterr().err
    assert VoiceStore(home_dir).list() == []


def test_a_recording_is_no_voice_to_export(
    home_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"RIFF")
    assert voice("export", recording, "--out", tmp_path / "out.pt") == 2
    assert "kouji voice add" in capfd.readouterr().err


def test_a_family_without_such_a_file_says_so(
    home_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert voice("export", "sample", "--out", tmp_path / "out.pt", "--model", "mini") == 2
    assert "has no file of voices" in capfd.readouterr().err


def test_without_consent_nothing_is_exported(home_dir: Path, tmp_path: Path) -> None:
    from kouji.voices.sample import sample_voice

    reference = sample_voice().reference
    VoiceStore(home_dir).add(Voice.from_reference(reference, name="unowned"))
    VoiceStore(home_dir).add(Voice.from_reference(reference, name="owned", consent=attest()))
    chosen = ("--out", tmp_path / "out.pt", "--model", "mini")
    assert voice("export", "owned", "unowned", *chosen) == 1
    assert not (tmp_path / "out.pt").exists()
