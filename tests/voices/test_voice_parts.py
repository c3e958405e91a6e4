"""Further references and weights of a voice's own, on disk and in the key of its conditionings."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from kouji.errors import VoiceError
from kouji.types import Audio
from kouji.voices import Voice, VoiceStore, VoiceWeights
from kouji.voices.enroll import weights_file


def _audio(seed: int) -> Audio:
    noise = np.random.default_rng(seed).normal(0, 0.05, 24_000)
    return Audio(noise.astype(np.float32), 24_000)


def test_further_references_and_own_weights_come_back(tmp_path: Path) -> None:
    store, reference = VoiceStore(tmp_path), _audio(0)
    (tmp_path / "anna-e15.ckpt").write_bytes(b"weights")
    weights = VoiceWeights("gpt-sovits", t2s=weights_file(tmp_path / "anna-e15.ckpt"))
    others = [_audio(1), _audio(2)]
    voice = Voice.from_reference(reference, name="anna", others=others, weights=weights)
    store.add(voice)
    back = store.get("anna")
    assert back.weights == weights
    assert back.weights.t2s is not None
    assert back.weights.t2s.sha256 == hashlib.sha256(b"weights").hexdigest()
    assert back.key == voice.key
    for one, other in zip(back.others, voice.others, strict=True):
        assert np.array_equal(one.samples, other.samples)


def test_a_conditioning_hangs_on_everything_it_was_made_of(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path)
    base = Voice.from_reference(_audio(0), name="a", transcript="hello")
    keys = {
        base.key,
        Voice.from_reference(_audio(0), name="a", transcript="hullo").key,
        Voice.from_reference(_audio(0), name="a", transcript="hello", language="zh").key,
        Voice.from_reference(_audio(0), name="a", transcript="hello", others=[_audio(1)]).key,
        Voice.from_reference(_audio(1), name="a", transcript="hello").key,
    }
    assert len(keys) == 5
    store.add(base)
    store.save_conditioning("a", "m", "1", {"x": np.zeros(3)})
    assert store.load_conditioning("a", "m", "1") is not None
    path = store.folder / "a" / "voice.json"
    path.write_text(path.read_text(encoding="utf-8").replace("hello", "hullo"), encoding="utf-8")
    assert store.load_conditioning("a", "m", "1") is None


def test_a_swapped_further_reference_is_damage(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path)
    store.add(Voice.from_reference(_audio(0), name="a", others=[_audio(1)]))
    folder = store.folder / "a"
    (folder / "reference-2.flac").write_bytes((folder / "reference.flac").read_bytes())
    with pytest.raises(VoiceError, match=r"reference-2\.flac is damaged"):
        store.get("a")
