"""Spans of speech: the model, the fallback, and their edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from kouji.audio import vad
from kouji.types import Audio

PAUSES = ((0.0, 0.5), (3.0, 3.6), (7.4, 8.0))


def covered(spans: list[vad.Span], start: float, end: float) -> float:
    """Share of [start, end] inside the spans."""
    shared = [max(0.0, min(end, b) - max(start, a)) for a, b in spans]
    return sum(shared) / (end - start)


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100])
@pytest.mark.parametrize("find", [vad.speech_spans, vad.energy_spans])
def test_speech_is_found_and_pauses_are_not(make_speech, find, rate: int) -> None:
    spans = find(make_speech(8.0, rate, pauses=PAUSES))
    assert spans == sorted(spans)
    assert all(0 <= start < end <= 8.0 for start, end in spans)
    assert covered(spans, 0.5, 3.0) > 0.85
    assert covered(spans, 4.2, 6.4) > 0.75
    assert covered(spans, 0.0, 0.4) == 0
    assert covered(spans, 3.2, 3.5) == 0


@pytest.mark.parametrize("find", [vad.speech_spans, vad.energy_spans])
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.2, 1.0])
def test_silence_has_no_speech(find, seconds: float) -> None:
    assert find(Audio(np.zeros(round(seconds * 24000), np.float32), 24000)) == []


def test_noise_is_not_speech() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(72000).astype(np.float32)
    assert vad.speech_spans(Audio(noise, 24000)) == []


def test_quiet_speech_is_still_speech(make_speech) -> None:
    loud = make_speech(4.0)
    quiet = Audio(loud.samples * np.float32(0.01), loud.sample_rate)
    assert covered(vad.speech_spans(quiet), 0.2, 3.0) > 0.8


def test_very_short_clips_and_missing_model_use_the_level(make_speech, monkeypatch) -> None:
    clip = make_speech(1.0)
    word = Audio(clip.samples[:6000], 24000)  # 0.25 s, one syllable
    assert covered(vad.speech_spans(word), 0.03, 0.2) > 0.9
    monkeypatch.setattr(vad, "_load_session", lambda: None)
    assert vad.speech_spans(clip) == vad.energy_spans(clip)


def test_blocks_do_not_show(make_speech, monkeypatch) -> None:
    audio = make_speech(8.0, pauses=PAUSES)
    whole = vad.speech_spans(audio)
    monkeypatch.setattr(vad, "BLOCK_FRAMES", 37)
    assert vad.speech_spans(audio) == whole


def test_hysteresis_by_hand() -> None:
    values = np.array([0.4, 0.6, 0.4, 0.4, 0.2, 0.4, 0.9, 0.36, 0.1])
    expected = [False, True, True, True, False, False, True, True, False]
    assert vad._hysteresis(values, 0.5, 0.35).tolist() == expected


def test_real_speech(shared_dir: Path) -> None:
    import soundfile

    samples, rate = soundfile.read(shared_dir / "audio/cross_lingual_prompt.wav", dtype="float32")
    spans = vad.speech_spans(Audio(samples, rate))
    assert len(spans) >= 4
    assert covered(spans, 0.5, 2.8) > 0.95
    assert covered(spans, 10.1, 10.6) == 0
