"""The voice store: whole voices or none, whatever happens to the files or beside us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kouji.errors import VoiceError
from kouji.types import Audio
from kouji.voices import Voice, VoiceStore
from kouji.voices.consent import attest, from_recording


@pytest.fixture
def store(tmp_path: Path) -> VoiceStore:
    return VoiceStore(tmp_path)


@pytest.fixture
def voice(tone: Audio) -> Voice:
    return Voice.from_reference(
        tone, name="小明", transcript="你好。", consent=attest(), report={"snr_db": 31.5}
    )


def test_what_was_added_is_read_back_equal(store: VoiceStore, voice: Voice) -> None:
    store.add(voice)
    for name in ("小明", voice.id):
        found = store.get(name)
        assert np.array_equal(found.reference.samples, voice.reference.samples)
        assert found.consent == voice.consent
        assert (found.name, found.transcript, found.language) == ("小明", "你好。", "zh")
        assert (found.created, found.report) == (voice.created, {"snr_db": 31.5})
    assert [values["name"] for values in store.list()] == ["小明"]
    assert "小明" in store
    assert "../小明" not in store


def test_the_consent_recording_is_kept(store: VoiceStore, tone: Audio) -> None:
    voice = Voice.from_reference(tone, name="a", consent=from_recording(b"sound"))
    store.add(voice, consent_recording=b"sound")
    assert (store.folder / "a" / "consent.recording").read_bytes() == b"sound"


def test_names_are_taken_once(store: VoiceStore, voice: Voice) -> None:
    store.add(voice)
    with pytest.raises(VoiceError, match="exists already"):
        store.add(voice)
    store.remove("小明")
    assert store.list() == []
    assert list(store.folder.iterdir()) == []
    store.add(voice)


def test_the_packaged_sample_cannot_be_shadowed(store: VoiceStore, tone: Audio) -> None:
    with pytest.raises(VoiceError, match="reserved"):
        store.add(Voice.from_reference(tone, name="Sample"))


def test_unknown_voices_name_the_known(store: VoiceStore, voice: Voice) -> None:
    with pytest.raises(VoiceError, match="none is kept yet"):
        store.get("alice")
    store.add(voice)
    with pytest.raises(VoiceError, match="小明"):
        store.get("alice")
    with pytest.raises(VoiceError, match="no such voice"):
        store.remove("../..")


def test_damage_is_named(store: VoiceStore, voice: Voice) -> None:
    store.add(voice)
    reference = store.folder / voice.id / "reference.flac"
    whole = reference.read_bytes()
    for broken in (b"", whole[:40], whole[: len(whole) // 2], b"RIFF" + whole):
        reference.write_bytes(broken)
        with pytest.raises(VoiceError, match=r"reference\.flac is damaged"):
            store.get("小明")
    reference.write_bytes(whole)
    description = reference.with_name("voice.json")
    content = json.loads(description.read_text(encoding="utf-8"))
    broken_texts = ["", "[]", "{", "{}"]
    broken_texts += [
        json.dumps({key: value for key, value in content.items() if key != missing})
        for missing in ("name", "content_hash", "transcript")
    ]
    broken_texts.append(json.dumps(content | {"consent": {"kind": "magic"}}))
    for text in broken_texts:
        description.write_text(text, encoding="utf-8")
        with pytest.raises(VoiceError, match=r"voice\.json is damaged"):
            store.get("小明")
    description.write_text(json.dumps(content | {"format": 99}), encoding="utf-8")
    with pytest.raises(VoiceError, match="unknown format"):
        store.get("小明")


def test_a_damaged_voice_does_not_hide_the_others(store: VoiceStore, voice: Voice) -> None:
    store.add(voice)
    (store.folder / "broken").mkdir()
    listed = store.list()
    assert {values["id"] for values in listed} == {"broken", voice.id}
    assert "damaged" in next(values for values in listed if values["id"] == "broken")
    store.remove("broken")


def test_a_changed_reference_is_noticed(store: VoiceStore, voice: Voice, tone: Audio) -> None:
    store.add(voice)
    other = Voice.from_reference(Audio(tone.samples * np.float32(0.5), 24_000), name="other")
    store.add(other)
    foreign = (store.folder / "other" / "reference.flac").read_bytes()
    (store.folder / voice.id / "reference.flac").write_bytes(foreign)
    with pytest.raises(VoiceError, match="differ from those enrolled"):
        store.get("小明")


def test_conditionings_are_cached_per_model(store: VoiceStore, voice: Voice) -> None:
    store.add(voice)
    arrays = {"embedding": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    store.save_conditioning("小明", "mini", "abc123", arrays)
    found = store.load_conditioning("小明", "mini", "abc123")
    assert found is not None
    assert np.array_equal(found["embedding"], arrays["embedding"])
    assert store.load_conditioning("小明", "mini", "other") is None
    with pytest.raises(VoiceError, match="model name"):
        store.save_conditioning("小明", "../mini", "abc", arrays)
    path = store.folder / voice.id / "mini@abc123.safetensors"
    path.write_bytes(path.read_bytes()[:20])
    assert store.load_conditioning("小明", "mini", "abc123") is None


def test_a_conditioning_of_another_reference_is_ignored(
    store: VoiceStore, voice: Voice, tone: Audio
) -> None:
    store.add(voice)
    store.save_conditioning("小明", "mini", "abc", {"x": np.zeros(1, np.float32)})
    stale = (store.folder / voice.id / "mini@abc.safetensors").read_bytes()
    store.remove("小明")
    changed = Audio(tone.samples * np.float32(0.5), 24_000)
    store.add(Voice.from_reference(changed, name="小明"))
    (store.folder / voice.id / "mini@abc.safetensors").write_bytes(stale)
    assert store.load_conditioning("小明", "mini", "abc") is None


ADD_ONE = """
import sys, numpy as np
from pathlib import Path
from kouji.errors import VoiceError
from kouji.types import Audio
from kouji.voices import Voice, VoiceStore
samples = np.full(24_000, float(sys.argv[2]), dtype=np.float32)
voice = Voice.from_reference(Audio(samples, 24_000), name="shared")
print("ready", flush=True)
sys.stdin.readline()
try:
    VoiceStore(Path(sys.argv[1])).add(voice)
    print(voice.content_hash)
except VoiceError as error:
    assert "exists already" in str(error), error
"""


def test_of_processes_adding_one_name_exactly_one_wins(tmp_path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", ADD_ONE, str(tmp_path), loudness],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for loudness in ("0.1", "0.2", "0.3")
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    hashes = [output for output in outputs if output]
    assert len(hashes) == 1
    assert VoiceStore(tmp_path).get("shared").content_hash == hashes[0]
    assert [item.name for item in (tmp_path / "voices").iterdir()] == ["shared"]
