"""`kouji voice`: keeping a voice needs consent; checking one needs no model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kouji.audio.load import load_audio
from kouji.cli import run
from kouji.voices import VoiceStore, audit
from kouji.voices.sample import SAMPLE_TRANSCRIPT, sample_path

Captured = pytest.CaptureFixture[str]
SAMPLE = str(sample_path())


def add(name: str, *more: str) -> int:
    return run(["voice", "add", name, SAMPLE, *more])


def test_a_voice_is_kept_shown_and_removed(home_dir: Path, capfd: Captured) -> None:
    assert add("爱丽丝", "--transcript", SAMPLE_TRANSCRIPT, "--consent-file", SAMPLE) == 0
    assert "kept voice '爱丽丝'" in capfd.readouterr().err
    voice = VoiceStore(home_dir).get("爱丽丝")
    assert voice.consent is not None
    assert voice.consent.kind == "recording"
    evidence = home_dir / "voices" / voice.id / "consent.recording"
    assert evidence.read_bytes() == Path(SAMPLE).read_bytes()
    assert 3.0 < voice.reference.duration <= 10.0
    assert voice.language == "en"

    assert run(["voice", "list"]) == 0
    assert "爱丽丝\ten" in capfd.readouterr().out
    assert run(["voice", "list", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)[0]["name"] == "爱丽丝"
    assert run(["voice", "show", "爱丽丝"]) == 0
    shown = capfd.readouterr().out
    assert SAMPLE_TRANSCRIPT in shown
    assert "snr_db" in shown
    assert run(["voice", "show", "爱丽丝", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["consent"]["kind"] == "recording"

    assert run(["voice", "remove", "爱丽丝"]) == 0
    assert run(["voice", "show", "爱丽丝"]) == 1
    assert audit.verify(home_dir / "audit.jsonl") == 2


def test_keeping_a_voice_needs_consent(
    home_dir: Path, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert add("alice") == 1
    told = capfd.readouterr().err
    assert "--consent-file" in told
    assert told.count("\n") == 1
    silence = tmp_path / "silence.wav"
    soundfile.write(silence, np.zeros(48_000), 24_000)
    assert add("alice", "--consent-file", str(silence)) == 1
    assert "nobody speaks" in capfd.readouterr().err
    assert add("alice", "--consent-file", "missing.wav") == 1
    assert not (home_dir / "voices").exists()
    assert add("alice", "--attest") == 0
    assert add("alice", "--attest") == 1
    assert "exists already" in capfd.readouterr().err
    monkeypatch.setenv("KOUJI_CONSENT", "off")
    assert add("bob") == 0
    last = (home_dir / "audit.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last)["consent"] == "policy off"


@pytest.mark.parametrize("name", ["sample", "", "a\nb", "x" * 200])
def test_unusable_names(home_dir: Path, capfd: Captured, name: str) -> None:
    assert add(name, "--attest") == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_a_good_recording_is_described(home_dir: Path, capfd: Captured) -> None:
    assert run(["voice", "check", SAMPLE]) == 0
    out = capfd.readouterr().out
    for word in ("duration:", "SNR:", "clipping:", "pitch:", "loudness:", "verdict:", "best part:"):
        assert word in out
    assert run(["voice", "check", SAMPLE, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["verdict"] == "good"


def test_a_bad_recording_is_told_with_figures(
    home_dir: Path, tmp_path: Path, capfd: Captured
) -> None:
    audio = load_audio(SAMPLE, sample_rate=24_000)
    clipped = tmp_path / "clipped.wav"
    soundfile.write(clipped, np.clip(audio.samples * 40, -1, 1), 24_000)
    assert run(["voice", "check", str(clipped)]) == 1
    out = capfd.readouterr().out
    assert "refused" in out
    assert "clipped" in out
    assert run(["voice", "add", "x", str(clipped), "--attest"]) == 1
    assert "clipped" in capfd.readouterr().err
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF1234")
    assert run(["voice", "check", str(broken)]) == 1
    assert run(["voice", "check", "missing.wav"]) in (1, 2)


def test_slice_lists_its_pieces(home_dir: Path, tmp_path: Path) -> None:
    audio = load_audio(SAMPLE, sample_rate=24_000)
    pause = np.zeros(24_000, np.float32)
    recording = tmp_path / "long.wav"
    soundfile.write(recording, np.concatenate([audio.samples, pause, audio.samples]), 24_000)
    assert run(["slice", str(recording), "--out", str(tmp_path / "pieces")]) == 0
    rows = (tmp_path / "pieces" / "slices.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert len(rows) >= 2
    for row in rows:
        name, start, end = row.split(",")
        seconds = soundfile.info(str(tmp_path / "pieces" / name)).duration
        assert seconds == pytest.approx(float(end) - float(start), abs=0.01)


def test_real_speech_carries_no_watermark(home_dir: Path, capfd: Captured) -> None:
    assert run(["watermark", "detect", SAMPLE]) == 1
    assert json.loads(capfd.readouterr().out)["found"] is False
