"""Noise goes down, speech stays; length, rate and silence stay as they are."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from kouji.audio.denoise import denoise, profile_noise
from kouji.errors import UsageError
from kouji.types import Audio


def si_sdr_db(clean: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant signal-to-distortion ratio."""
    clean, estimate = clean.astype(np.float64), estimate.astype(np.float64)
    target = clean * (clean @ estimate) / (clean @ clean)
    return float(10 * np.log10((target @ target) / np.square(estimate - target).sum()))


def add_noise(clean: Audio, snr_db: float, seed: int = 0) -> Audio:
    noise = np.random.default_rng(seed).standard_normal(len(clean.samples))
    noise *= np.sqrt(np.mean(np.square(clean.samples)) / 10 ** (snr_db / 10))
    return Audio((clean.samples + noise).astype(np.float32), clean.sample_rate)


@pytest.mark.parametrize("snr_db", [5, 10, 15])
@pytest.mark.parametrize("rate", [16000, 24000])
def test_spectral_gain_on_white_noise(make_speech, snr_db: int, rate: int) -> None:
    clean = make_speech(6.0, rate, pauses=((0, 0.5), (3, 3.6)))
    noisy = add_noise(clean, snr_db)
    cleaned = denoise(noisy)
    assert cleaned.sample_rate == rate
    assert len(cleaned.samples) == len(noisy.samples)
    gain = si_sdr_db(clean.samples, cleaned.samples) - si_sdr_db(clean.samples, noisy.samples)
    assert gain > 3.0


def test_clean_speech_is_left_nearly_alone(make_speech) -> None:
    clean = make_speech(6.0, pauses=((0, 0.5), (3, 3.6)))
    assert si_sdr_db(clean.samples, denoise(clean).samples) > 20.0


def test_strength_is_monotonic(make_speech) -> None:
    noisy = add_noise(make_speech(4.0, pauses=((0, 1.0),)), 10)
    pause = slice(2400, 20000)
    levels = [denoise(noisy, strength).samples[pause].std() for strength in (0.0, 0.3, 0.6, 1.0)]
    assert levels == sorted(levels, reverse=True)
    assert levels[3] < 0.2 * levels[0]
    assert denoise(noisy, 0.0) is noisy


def test_noise_power_is_measured_under_speech(make_speech) -> None:
    noise = Audio(0.05 * np.random.default_rng(1).standard_normal(96000).astype(np.float32), 24000)
    assert profile_noise(noise).noise.mean() == pytest.approx(0.05**2, rel=0.15)
    mixed = Audio(noise.samples + make_speech(4.0, pauses=((1, 1.5),)).samples, 24000)
    assert profile_noise(mixed).noise.sum() == pytest.approx(
        profile_noise(noise).noise.sum(), rel=0.5
    )


@pytest.mark.parametrize("num_samples", [0, 1, 100, 3000, 3073, 24000])
def test_silence_of_any_length(num_samples: int) -> None:
    silent = Audio(np.zeros(num_samples, np.float32), 24000)
    assert not denoise(silent).samples.any()
    assert len(denoise(silent).samples) == num_samples


def test_wrong_arguments_are_named(make_speech) -> None:
    audio = make_speech(1.0)
    with pytest.raises(UsageError, match="strength"):
        denoise(audio, 1.5)
    with pytest.raises(UsageError, match="method"):
        denoise(audio, method="magic")


def test_rnnoise_is_aligned_or_named_as_missing(make_speech, monkeypatch) -> None:
    clean = make_speech(3.0)
    real_import = builtins.__import__

    def without_rnnoise(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("pyrnnoise"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", without_rnnoise)
        with pytest.raises(UsageError, match="pip install pyrnnoise"):
            denoise(clean, method="rnnoise")
    pytest.importorskip("pyrnnoise")
    cleaned = denoise(clean, method="rnnoise")
    assert len(cleaned.samples) == len(clean.samples)
    lag = np.correlate(cleaned.samples[20000:40000], clean.samples[20500:39500], "valid").argmax()
    assert abs(int(lag) - 500) < 24  # within a millisecond
