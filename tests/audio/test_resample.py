"""Resampling: streamed equals whole, tones keep their pitch, wrong rates are named errors."""

import numpy as np
import pytest

from kouji.audio.resample import Resampler, resample
from kouji.errors import AudioError
from kouji.types import Audio

RATES = [(16000, 24000), (24000, 16000), (48000, 24000), (44100, 16000), (22050, 24000)]


def tone(hz: float, sample_rate: int, seconds: float = 1.0) -> np.ndarray:
    times = np.arange(int(sample_rate * seconds)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * hz * times)).astype(np.float32)


@pytest.mark.parametrize(("source_rate", "target_rate"), RATES)
def test_streamed_equals_whole(source_rate: int, target_rate: int) -> None:
    rng = np.random.default_rng(source_rate + target_rate)
    samples = rng.uniform(-0.9, 0.9, source_rate * 2).astype(np.float32)
    whole = resample(Audio(samples, source_rate), target_rate).samples
    resampler = Resampler(source_rate, target_rate)
    cuts = np.sort(rng.integers(0, len(samples), 20))
    parts = [resampler.push(part) for part in np.split(samples, cuts)]
    streamed = np.concatenate([*parts, resampler.push(samples[:0], last=True)])
    assert streamed.dtype == np.float32
    assert streamed.shape == whole.shape
    assert np.abs(streamed - whole).max() < 1e-5


@pytest.mark.parametrize(("source_rate", "target_rate"), RATES)
def test_a_tone_stays_the_tone(source_rate: int, target_rate: int) -> None:
    result = resample(Audio(tone(1000, source_rate), source_rate), target_rate)
    expected = tone(1000, target_rate)
    middle = slice(target_rate // 4, 3 * target_rate // 4)
    assert result.sample_rate == target_rate
    assert abs(len(result.samples) - len(expected)) <= 1
    assert np.abs(result.samples[middle] - expected[middle]).max() < 1e-3


def test_what_the_lower_rate_cannot_carry_is_removed() -> None:
    result = resample(Audio(tone(11000, 48000), 48000), 16000)
    assert np.abs(result.samples[4000:-4000]).max() < 1e-3


def test_the_same_rate_changes_nothing() -> None:
    audio = Audio(tone(440, 24000), 24000)
    assert resample(audio, 24000) is audio
    assert np.array_equal(Resampler(24000, 24000).push(audio.samples, last=True), audio.samples)


@pytest.mark.parametrize("rate", [0, -1, 3999, 384_001, 24000.0, "24000", True, None])
def test_wrong_rates_are_refused(rate: object) -> None:
    audio = Audio(tone(440, 24000), 24000)
    with pytest.raises(AudioError, match="4000 to 384000"):
        resample(audio, rate)  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="4000 to 384000"):
        Resampler(24000, rate)  # type: ignore[arg-type]
