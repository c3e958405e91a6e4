"""Voices without a recording: kept, checked, asked for consent and spoken as every other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_mini import make_tiny_checkpoint

from kouji.api import TTS
from kouji.config import Settings
from kouji.errors import ConsentError, UsageError, VoiceError
from kouji.models.mini.family import MiniFamily
from kouji.verification.consent import verify_challenge
from kouji.voices import VoiceStore, receipt
from kouji.voices.consent import attest
from kouji.voices.leave import Leave
from kouji.voices.voice import Imported, Voice


def imported(model: str = "cosyvoice3", value: float = 0.5) -> Imported:
    arrays = {"speaker": np.full(192, value, np.float32), "tokens": np.arange(3)}
    return Imported(model, arrays)


def voice(**changes: object) -> Voice:
    given = {"name": "中文女", "consent": attest(), **changes}
    return Voice.from_import(imported(), **given)  # type: ignore[arg-type]


def test_it_comes_back_from_the_store_as_it_was(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path)
    kept = store.add(voice(language="zh"))
    back = store.get("中文女")
    assert back.imported is not None
    assert back.imported.model == back.model == "cosyvoice3"
    assert np.array_equal(back.imported.arrays["speaker"], np.full(192, 0.5, np.float32))
    assert back.imported.arrays["tokens"].dtype == np.int64
    assert (back.content_hash, back.key) == (kept.content_hash, kept.key)
    assert len(back.reference.samples) == 0
    assert store.describe("中文女")["imported"] == "cosyvoice3"
    assert not (store.folder / back.id / "reference.flac").exists()


def test_the_hash_follows_model_and_values() -> None:
    hashes = {imported().content_hash, imported("cosyvoice2").content_hash,
              imported(value=0.25).content_hash}  # fmt: skip
    assert len(hashes) == 3
    assert imported().content_hash == imported().content_hash


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_damaged_values_are_told(tmp_path: Path, damage: str) -> None:
    store = VoiceStore(tmp_path)
    folder = store.folder / store.add(voice()).id
    path = folder / "imported.arrays"
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-4] + b"\1\2\3\4" if damage == "changed" else content[:60])
    with pytest.raises(VoiceError, match="damaged"):
        store.get("中文女")


def test_a_consent_taken_back_stops_it(tmp_path: Path) -> None:
    store, leave = VoiceStore(tmp_path), Leave(tmp_path, "attest")
    kept = store.add(voice())
    leave.require(kept)
    receipt.revoke(tmp_path, kept.id, audit_file=tmp_path / "audit.jsonl")
    with pytest.raises(ConsentError, match="revoked"):
        leave.require(store.get(kept.id))


def test_consent_is_asked_for_as_ever(tmp_path: Path) -> None:
    with pytest.raises(ConsentError):
        Leave(tmp_path, "attest").require(voice(consent=None))
    with pytest.raises(ConsentError, match="not verified"):
        Leave(tmp_path, "verify").require(voice())


def test_nobody_can_be_compared_with_it(tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="no recording to compare"):
        verify_challenge(tmp_path, "any", b"", voice().reference, name="a")


def test_another_family_says_which_can_speak_it(tiny_tts: TTS) -> None:
    with pytest.raises(VoiceError, match="seen: mini; allowed: cosyvoice3") as caught:
        tiny_tts.speak("Hello.", voice())
    assert "--model cosyvoice3" in str(caught.value)


def test_its_own_family_unpacks_what_was_imported(home_dir: Path) -> None:
    family = MiniFamily(make_tiny_checkpoint(), precision="float32")
    from kouji.voices.sample import sample_voice

    heard = family.condition(sample_voice(), None)  # type: ignore[arg-type]
    mine = Voice.from_import(Imported("mini", family.pack(heard)), name="mine", consent=attest())
    VoiceStore(home_dir).add(mine)
    with TTS(family, Settings(home=home_dir)) as tts:
        ours = tts.speak("Hello there.", VoiceStore(home_dir).get("mine"))
        theirs = tts.speak("Hello there.", sample_voice())
        assert len(ours.audio.samples) == len(theirs.audio.samples)
        with pytest.raises(UsageError, match="no file of voices"):
            tts.export_voices([mine], home_dir / "out.pt")
    lines = [json.loads(line) for line in (home_dir / "audit.jsonl").read_text().splitlines()]
    assert lines[0]["voice"] == mine.content_hash


def test_a_server_speaks_it_with_its_own_model() -> None:
    from types import SimpleNamespace
    from typing import Any

    from kouji.serve.models import ModelPool

    models: Any = {
        name: SimpleNamespace(family=SimpleNamespace(name=name)) for name in ("mini", "cosyvoice3")
    }
    models["folder"] = SimpleNamespace(family=SimpleNamespace(name="cosyvoice", version="cv2"))
    pool = ModelPool(models)
    assert pool.choose("cv2").name == pool.choose("cosyvoice").name == "folder"
    assert pool.choose(None, voice()).name == "cosyvoice3"
    assert pool.choose("tts-1", voice()).name == "cosyvoice3"
    assert pool.choose(None, None).name == "mini"
