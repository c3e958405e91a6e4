"""Loudness: reaches what is asked, never clips, says when it could not, short and silent clips."""

import math

import numpy as np
import pytest

from kouji.audio.loudness import PEAK_LIMIT, change_loudness, measure_loudness, normalise_loudness
from kouji.errors import AudioError
from kouji.types import Audio

RATE = 24000


def noise(seconds: float, level: float = 0.1, rate: int = RATE) -> Audio:
    rng = np.random.default_rng(3)
    return Audio((level * rng.standard_normal(int(seconds * rate))).astype(np.float32), rate)


def sine(hz: float, rate: int = 48000) -> Audio:
    times = np.arange(rate * 5) / rate
    return Audio(np.sin(2 * np.pi * hz * times).astype(np.float32), rate)


def test_the_standards_own_reference() -> None:
    """BS.1770: a full-scale 997 Hz sine in one channel reads -3.01 LUFS."""
    assert measure_loudness(sine(997)) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000])
def test_pyloudnorm_agrees(rate: int) -> None:
    """Its shelf begins at 1500 Hz, the standard's at 1682: white noise reads up to 0.13 lower."""
    pyloudnorm = pytest.importorskip("pyloudnorm")
    rng = np.random.default_rng(rate)
    samples = rng.standard_normal(rate * 70) * np.repeat(rng.uniform(0, 0.1, 70), rate)
    expected = pyloudnorm.Meter(rate).integrated_loudness(samples)
    measured = measure_loudness(Audio(samples.astype(np.float32), rate))
    assert measured == pytest.approx(expected, abs=0.15)


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 48000])
@pytest.mark.parametrize("lufs", [-30.0, -23.0, -16.0])
def test_the_wanted_loudness_is_reached(rate: int, lufs: float) -> None:
    change = change_loudness(noise(3, 0.02, rate), lufs)
    assert not change.is_limited
    assert change.reached_lufs == pytest.approx(lufs, abs=1e-6)
    assert measure_loudness(change.audio) == pytest.approx(lufs, abs=0.05)
    assert change.audio.samples.dtype == np.float32


def test_gating_ignores_pauses() -> None:
    speech = noise(2).samples
    paused = Audio(np.concatenate([speech, np.zeros(4 * RATE, np.float32), speech]), RATE)
    assert measure_loudness(paused) == pytest.approx(measure_loudness(noise(2)), abs=0.4)


def test_peaks_are_never_pushed_over() -> None:
    samples = noise(3, 0.001).samples.copy()
    samples[1000] = 0.5
    change = change_loudness(Audio(samples, RATE), -10)
    assert change.is_limited
    assert np.abs(change.audio.samples).max() <= PEAK_LIMIT + 1e-6
    assert change.reached_lufs < -10
    assert measure_loudness(change.audio) == pytest.approx(change.reached_lufs, abs=0.05)


@pytest.mark.parametrize("num_samples", [1, 2, 100, 4800, 9599, 9600, 9601])
def test_short_clips(num_samples: int) -> None:
    short = Audio(noise(1).samples[:num_samples], RATE)
    change = change_loudness(short, -23)
    assert len(change.audio.samples) == num_samples
    assert np.isfinite(change.audio.samples).all()
    if num_samples >= 4800:
        assert change.measured_lufs == pytest.approx(measure_loudness(noise(1)), abs=1.0)


def test_silence_stays_silence() -> None:
    silent = Audio(np.zeros(RATE, np.float32), RATE)
    change = change_loudness(silent)
    assert change.measured_lufs == -math.inf
    assert change.gain_db == 0
    assert np.array_equal(normalise_loudness(silent).samples, silent.samples)


def test_wrong_use() -> None:
    with pytest.raises(AudioError, match="-70 to 0"):
        change_loudness(noise(1), 3)
    with pytest.raises(AudioError, match="empty"):
        measure_loudness(Audio(np.zeros(0, np.float32), RATE))
