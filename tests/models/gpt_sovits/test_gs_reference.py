"""References: their 3 to 10 seconds, everything a recording can be, and the cut where asked."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from kouji.audio.load import load_audio
from kouji.audio.slice import find_best_part
from kouji.audio.vad import speech_spans
from kouji.errors import AudioError, ReferenceRefused, UnreadableAudio
from kouji.models.gpt_sovits import reference
from kouji.models.gpt_sovits.reference import (
    Reference,
    hubert_input,
    load_first,
    load_further,
)
from kouji.types import Audio


@pytest.fixture(scope="module")
def speech(goldens_dir: Path) -> Audio:
    """Four seconds of speech at 32 kHz."""
    audio = load_audio(goldens_dir / "ref32k.wav", sample_rate=32000)
    return Audio(np.resize(audio.samples, 4 * 32000), 32000)


@pytest.fixture(scope="module")
def long_speech(speech: Audio) -> Audio:
    """The same sentence five times, with pauses of half a second."""
    pause = np.random.default_rng(0).normal(0, 1e-4, 16000).astype(np.float32)
    return Audio(np.concatenate([speech.samples, pause] * 5), speech.sample_rate)


def hum(seconds: float, rate: int = 16000) -> Audio:
    times = np.arange(round(seconds * rate)) / rate
    return Audio((0.3 * np.sin(2 * np.pi * 200 * times)).astype(np.float32), rate)


def refusal(audio: object, *, further: bool = False, **options: object) -> ReferenceRefused:
    load = load_further if further else load_first
    with pytest.raises(ReferenceRefused) as caught:
        load(audio, **options)  # type: ignore[arg-type]
    return caught.value


def test_input_of_hubert(goldens_dir: Path) -> None:
    golden = np.load(goldens_dir / "hubert_tiny.npz")["wav16k_padded"]
    ours = hubert_input(Reference(load_audio(goldens_dir / "ref32k.wav")))
    assert ours.shape == (1, len(golden))
    assert np.abs(ours[0].numpy() - golden).max() < 1e-4
    assert not ours[0, -reference.TRAILING_ZEROS :].any()
    assert reference.TRAILING_ZEROS == 9600


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_limits_are_within(rate: int) -> None:
    for seconds in (3.0, 10.0):
        assert load_first(hum(seconds, rate)).audio.duration == pytest.approx(seconds)


def test_too_short_and_too_long_name_the_seconds() -> None:
    short = refusal(hum(2.99))
    assert (short.reason, short.seen, short.allowed) == ("too_short", "2.99 s", "3 to 10 s")
    long = refusal(hum(10.01))
    assert (long.reason, long.seen) == ("too_long", "10.01 s")
    assert "GPT-SoVITS" in str(long)


def test_a_file_far_too_long_is_not_decoded(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.wav", hum(100.0, 8000).samples, 8000)
    error = refusal(tmp_path / "long.wav")
    assert (error.reason, error.allowed) == ("too_long", "3 to 10 s")
    assert "100.0 s" in str(error.seen)


def test_further_references_have_wider_limits() -> None:
    assert load_further(hum(0.2)).audio.duration == pytest.approx(0.2)
    assert load_further(hum(30.0)).audio.duration == pytest.approx(30.0)
    assert refusal(hum(0.05), further=True).reason == "too_short"
    assert refusal(hum(61.0), further=True).allowed == "0.1 to 60 s"


def test_channels_become_their_mean(tmp_path: Path) -> None:
    left, right = hum(4.0).samples, hum(4.0).samples[::-1].copy()
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], 1), 16000, subtype="FLOAT")
    audio = load_first(tmp_path / "stereo.wav").audio
    assert np.allclose(audio.samples, (left + right) / 2, atol=1e-6)
    assert audio.sample_rate == 16000


def test_bytes_and_arrays(speech: Audio) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, speech.samples, speech.sample_rate, format="WAV", subtype="FLOAT")
    from_bytes = load_first(buffer.getvalue())
    from_array = load_first(speech.samples, array_rate=speech.sample_rate)
    assert from_bytes.content_hash == from_array.content_hash == load_first(speech).content_hash
    assert from_array.part is None


def test_the_hash_is_of_the_content() -> None:
    first = load_first(hum(4.0))
    assert first.content_hash != load_first(hum(4.1)).content_hash
    other_rate = Audio(first.audio.samples, 15000)
    assert first.content_hash != load_first(other_rate).content_hash


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_is_refused(level: float) -> None:
    samples = np.random.default_rng(0).normal(0, level + 1e-9, 4 * 16000).astype(np.float32)
    assert refusal(Audio(samples, 16000)).reason == "silent"


def test_broken_samples_are_refused() -> None:
    samples = hum(4.0).samples.copy()
    samples[7] = np.nan
    assert refusal(Audio(samples, 16000)).reason == "not_finite"
    assert refusal(Audio(np.zeros(0, np.float32), 16000)).reason == "empty"
    with pytest.raises(AudioError):
        load_first(hum(4.0).samples)  # an array without its rate
    with pytest.raises(AudioError):
        load_first(Audio(hum(4.0).samples * 1000, 16000))


def test_files_that_are_no_sound(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound at all")
    with pytest.raises(UnreadableAudio):
        load_first(tmp_path / "text.wav")
    with pytest.raises(UnreadableAudio):
        load_first(tmp_path / "missing.wav")


def test_a_long_reference_is_cut_at_pauses_where_asked(long_speech: Audio) -> None:
    assert refusal(long_speech).reason == "too_long"
    kept = load_first(long_speech, cut_long=True)
    assert kept.part is not None
    start, end = kept.part
    assert 3.0 <= kept.audio.duration <= 10.0
    assert kept.audio.duration == pytest.approx(end - start, abs=1e-3)
    first = round(start * long_speech.sample_rate)
    assert np.array_equal(
        kept.audio.samples, long_speech.samples[first : first + len(kept.audio.samples)]
    )
    spans = speech_spans(long_speech)
    assert not any(a < start - 0.02 < b - 0.04 for a, b in spans)  # not inside speech
    load_first(kept.audio)  # what was kept needs no further cut


def test_nothing_is_cut_that_fits(speech: Audio) -> None:
    kept = load_first(speech, cut_long=True)
    assert kept.part is None
    assert len(kept.audio.samples) == len(speech.samples)


def test_a_part_with_little_speech_is_still_long_enough(speech: Audio) -> None:
    noise = np.random.default_rng(1).normal(0, 1e-4, 12 * 32000).astype(np.float32)
    noise[64000:96000] += speech.samples[32000:64000]  # one second of speech in twelve
    audio = Audio(noise, 32000)
    start, end = find_best_part(audio, (3.0, 10.0))
    assert 0.0 <= start < end <= audio.duration
    assert 3.0 - 1e-9 <= end - start <= 10.0
    assert 3.0 <= load_first(audio, cut_long=True).audio.duration <= 10.0


def test_even_cutting_has_its_limit() -> None:
    error = refusal(hum(601.0, 8000), cut_long=True)
    assert (error.reason, error.allowed) == ("too_long", "3 to 600 s")


def test_short_stays_short_where_cutting_is_allowed() -> None:
    assert refusal(hum(1.0), cut_long=True).reason == "too_short"
    assert isinstance(hubert_input(load_further(hum(0.5))), torch.Tensor)
