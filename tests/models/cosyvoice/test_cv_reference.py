"""Recordings for CosyVoice: their lengths, the cut where it is allowed, and speech in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from kouji.audio.vad import speech_spans
from kouji.errors import AudioError, ReferenceRefused
from kouji.models.cosyvoice.hearing.reference import choose_prompt, cut_source
from kouji.types import Audio

RATE = 24_000


def hum(seconds: float, rate: int = RATE, level: float = 0.1) -> Audio:
    """A buzz that swells and ebbs."""
    time = np.arange(round(seconds * rate)) / rate
    wave = np.sign(np.sin(2 * np.pi * 140 * time)) * (1 + np.sin(2 * np.pi * 3 * time))
    return Audio((level * wave).astype(np.float32), rate)


@pytest.fixture(scope="module")
def sentence(shared_dir) -> Audio:
    """3.5 s of speech at 24 kHz."""
    from kouji.audio.load import load_audio

    return load_audio(shared_dir / "audio/zero_shot_prompt.wav", sample_rate=RATE)


@pytest.fixture(scope="module")
def long_speech(sentence: Audio) -> Audio:
    """The sentence a dozen times, with pauses of 0.6 s: 49 s."""
    pause = np.random.default_rng(0).normal(0, 1e-4, round(0.6 * RATE)).astype(np.float32)
    return Audio(np.concatenate([sentence.samples, pause] * 12), RATE)


@pytest.mark.parametrize("seconds", [1.0, 3.48, 30.0])
@pytest.mark.parametrize("has_transcript", [True, False])
def test_what_fits_is_taken_as_it_is(seconds: float, has_transcript: bool) -> None:
    audio = hum(seconds)
    assert choose_prompt(audio, has_transcript=has_transcript) is audio


def test_words_of_more_than_30_seconds_are_refused_where_the_recording_was_cut_before() -> None:
    cut = hum(9.0)
    with pytest.raises(ReferenceRefused, match="40"):
        choose_prompt(cut, has_transcript=True, recorded_seconds=40.0)
    assert choose_prompt(cut, has_transcript=False, recorded_seconds=40.0) is cut
    assert choose_prompt(cut, has_transcript=True, recorded_seconds=30.0) is cut


def test_more_than_30_seconds_with_words_is_refused_with_the_seconds() -> None:
    with pytest.raises(ReferenceRefused) as caught:
        choose_prompt(hum(30.01), has_transcript=True)
    assert caught.value.reason == "too_long"
    told = str(caught.value)
    assert "seen: 30.01 s; allowed: 1 to 30 s" in told
    assert "leave the transcript out" in told


def test_more_than_30_seconds_without_words_is_cut_from_pause_to_pause(long_speech: Audio) -> None:
    part = choose_prompt(long_speech, has_transcript=False)
    assert 3.0 <= part.duration <= 10.0
    assert part.sample_rate == RATE
    speech = sum(end - start for start, end in speech_spans(part))
    assert speech > 0.7 * part.duration
    edge = round(0.02 * RATE)  # both ends lie in a pause
    loud = np.abs(part.samples).max()
    assert np.abs(part.samples[:edge]).max() < 0.1 * loud
    assert np.abs(part.samples[-edge:]).max() < 0.1 * loud


def test_what_is_far_too_long_is_not_even_searched() -> None:
    audio = Audio(np.ones(601 * 8000, np.float32), 8000)
    with pytest.raises(ReferenceRefused, match="allowed: 1 to 600 s"):
        choose_prompt(audio, has_transcript=False)


def test_too_little_is_refused_with_the_seconds() -> None:
    with pytest.raises(ReferenceRefused, match=r"seen: 0\.90 s") as caught:
        choose_prompt(hum(0.9), has_transcript=False)
    assert caught.value.reason == "too_short"


@pytest.mark.parametrize("seconds", [3.0, 40.0])
def test_silence_is_refused(seconds: float) -> None:
    with pytest.raises(ReferenceRefused) as caught:
        choose_prompt(hum(seconds, level=1e-5), has_transcript=False)
    assert caught.value.reason == "silent"


def test_a_short_source_is_one_piece() -> None:
    audio = hum(12.3)
    assert cut_source(audio) == ([audio], ())


def test_a_long_source_loses_nothing_and_keeps_its_time(long_speech: Audio) -> None:
    source = Audio(np.concatenate([long_speech.samples] * 2), RATE)
    pieces, warnings = cut_source(source)
    assert warnings == ()
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), source.samples)
    assert all(piece.duration <= 30.0 for piece in pieces)
    # Each piece but the last is whole tokens of 960 samples.
    assert all(len(piece.samples) % 960 == 0 for piece in pieces[:-1])
    edge = round(0.02 * RATE)
    for piece in pieces[:-1]:
        assert np.abs(piece.samples[-edge:]).max() < 0.02


def test_a_source_of_a_low_rate_is_converted_with_a_warning() -> None:
    _, warnings = cut_source(hum(2.0, rate=8000))
    assert "8000 Hz" in warnings[0]


@pytest.mark.parametrize(
    ("audio", "told"),
    [
        (hum(0.1), r"seen: 0\.10 s.*record more"),
        (hum(2.0, level=1e-6), "speech to be converted is silent"),
        (Audio(np.ones(4000 * 3601, np.float32), 4000), r"3601\.00 s.*cut it into several"),
    ],
)
def test_a_source_with_nothing_to_convert_is_told(audio: Audio, told: str) -> None:
    with pytest.raises(AudioError, match=told):
        cut_source(audio)
