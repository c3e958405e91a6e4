"""Background noise in recordings: how much there is, and taking it away.

Own spectral method in numpy, RNNoise (pyrnnoise) where it is installed and asked for. Knows
stationary noise; a second voice is not noise to it.

Why "spectral" is the default: on 6 corpus clips (zh, en) at 16 kHz, means of SI-SDR in dB and
PESQ-wb, noise mixed in at 5 / 15 dB:
  white noise   none 3.9, 1.06 / 13.9, 1.24   spectral 11.8, 1.35 / 18.5, 2.00
                                              RNNoise   9.9, 1.41 / 12.0, 1.89
  eight voices  none 3.9, 1.14 / 13.9, 1.56   spectral  5.6, 1.13 / 15.4, 1.56
                                              RNNoise  -0.7, 1.17 /  6.1, 1.54
It takes 0.004 of real time on one core, RNNoise 0.037.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kouji.errors import UsageError
from kouji.types import Audio, Samples

Method = Literal["spectral", "rnnoise"]

WINDOW_SECONDS = 0.032
OVERLAP = 4  # windows over each sample
QUANTILE = 0.1
QUANTILE_BIAS = 0.5  # 10 % quantile over mean: 0.46 for plain noise, speech lifts it a little
RNNOISE_DELAY = 960  # samples at 48 kHz, measured
DIGITAL_SILENCE_DB = -85.0  # frames below hold no recorded background, only zeros


@dataclass(frozen=True)
class NoiseProfile:
    """noise (bins,) mean power per frequency; power (frames, bins) of the recording."""

    noise: NDArray[np.float64]
    power: NDArray[np.float64]
    hop_length: int

    def frame_seconds(self, sample_rate: int) -> NDArray[np.float64]:
        """Where each frame of `power` is centred in the recording."""
        first = 0.5 * OVERLAP - OVERLAP  # one window of zeros lies before the first sample
        return (np.arange(len(self.power)) + first) * self.hop_length / sample_rate


def denoise(audio: Audio, strength: float = 1.0, *, method: Method = "spectral") -> Audio:
    """Lower the stationary noise of a recording.

    strength: 0 returns the sound as it is, 1 removes the most (noise about -20 dB)
    method:   "spectral" needs nothing; "rnnoise" needs the extra package pyrnnoise
    returns:  Audio of the same length and rate
    """
    if not 0.0 <= strength <= 1.0:
        raise UsageError("denoise strength is out of range", seen=strength, allowed="0 to 1")
    if method not in ("spectral", "rnnoise"):
        raise UsageError("unknown method", seen=method, allowed='"spectral", "rnnoise"')
    if strength == 0.0 or len(audio.samples) < audio.sample_rate * WINDOW_SECONDS * 4:
        return audio
    if method == "rnnoise":
        cleaned = _rnnoise(audio)
        mixed = strength * cleaned + (1.0 - strength) * audio.samples
        return Audio(mixed.astype(np.float32), audio.sample_rate)
    return Audio(_spectral(audio, strength), audio.sample_rate)


def profile_noise(audio: Audio) -> NoiseProfile:
    """Estimate the stationary noise under speech, with or without pauses in it.

    Every frequency is free of speech some of the time, so a low quantile over time of the smoothed
    power follows the noise (V. Stahl et al., "Quantile based noise estimation", 2000); the ratio of
    that quantile to the mean of plain noise is constant and divided out.
    """
    spectrum, hop = _stft(audio)
    return _profile(np.square(np.abs(spectrum)), hop)


def _profile(power: NDArray[np.float64], hop: int) -> NoiseProfile:
    recorded = _recorded(power)
    if len(recorded) < 8:
        return NoiseProfile(np.zeros(power.shape[1]), power, hop)
    smooth = _moving_mean(recorded, 9)
    quantile = np.quantile(smooth, QUANTILE, axis=0) / QUANTILE_BIAS
    return NoiseProfile(_moving_mean(quantile[:, None], 5)[:, 0], power, hop)


def quietest_power(power: NDArray[np.float64]) -> float:
    """Power of the quietest 5 % of (frames, bins), all frequencies together."""
    recorded = _recorded(power)
    if len(recorded) == 0:
        return 0.0
    return float(np.quantile(_moving_mean(recorded.sum(axis=1, keepdims=True), 9), 0.05))


def _recorded(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """The frames that are not digital silence, nor half of the zeros around the recording."""
    inside = power[OVERLAP:-OVERLAP] if len(power) > 4 * OVERLAP else power
    level = 10.0 * np.log10(inside.mean(axis=1) + 1e-20)
    recorded: NDArray[np.float64] = inside[level > DIGITAL_SILENCE_DB]
    return recorded


def _spectral(audio: Audio, strength: float) -> Samples:
    """Wiener gain with the decision-directed prior of Ephraim and Malah (1984)."""
    spectrum, hop = _stft(audio)
    profile = _profile(np.square(np.abs(spectrum)), hop)
    noise = np.maximum(profile.noise * 1.2, 1e-12)
    floor = 10.0 ** (-22.0 * strength / 20.0)
    posterior = profile.power / noise
    gains = np.empty_like(posterior)
    clean_before = np.maximum(posterior[0] - 1.0, 0.0)
    for frame, now in enumerate(posterior):
        prior = 0.96 * clean_before + 0.04 * np.maximum(now - 1.0, 0.0)
        gain = np.maximum(prior / (1.0 + prior), floor)
        clean_before = np.square(gain) * now
        gains[frame] = gain
    return _istft(spectrum * gains, hop, len(audio.samples))


def _stft(audio: Audio) -> tuple[NDArray[np.complex128], int]:
    """(frames, bins) spectrum, power normalised so that white noise of variance v has mean v."""
    size, hop, window = _window(audio.sample_rate)
    padded = np.pad(audio.samples.astype(np.float64), (size, size + hop), mode="constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    return np.fft.rfft(frames * window, axis=1), hop


def _istft(spectrum: NDArray[np.complex128], hop: int, num_samples: int) -> Samples:
    size = (spectrum.shape[1] - 1) * 2
    window = np.sqrt(np.hanning(size + 1)[:-1])
    window /= np.sqrt(np.square(window).sum())
    frames = np.fft.irfft(spectrum, size, axis=1) * window
    total = np.zeros((len(frames) - 1) * hop + size)
    for index, frame in enumerate(frames):
        total[index * hop : index * hop + size] += frame
    # The square of a window of unit energy, added every hop, is 1 / hop.
    return (total[size : size + num_samples] * hop).astype(np.float32)


def _window(sample_rate: int) -> tuple[int, int, NDArray[np.float64]]:
    """Window length (a multiple of 8), hop, and a square-root Hann window of unit energy."""
    size = max(64, round(sample_rate * WINDOW_SECONDS / 8) * 8)
    window = np.sqrt(np.hanning(size + 1)[:-1])
    return size, size // OVERLAP, window / np.sqrt(np.square(window).sum())


def _moving_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over `width` rows, centred; fewer at the edges."""
    reach = width // 2
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    rows = np.arange(len(values))
    left, right = np.maximum(rows - reach, 0), np.minimum(rows + reach + 1, len(values))
    means: NDArray[np.float64] = (total[right] - total[left]) / (right - left)[:, None]
    return means


def _rnnoise(audio: Audio) -> Samples:
    """RNNoise (J.-M. Valin, 2018) at its own 48 kHz, its delay taken out."""
    try:
        from pyrnnoise import RNNoise
    except ImportError as error:
        raise UsageError(
            "RNNoise is not installed", cure='pip install pyrnnoise, or use method "spectral"'
        ) from error
    from kouji.audio.resample import resample

    wide = resample(audio, 48000).samples
    denoiser = RNNoise(sample_rate=48000)
    chunk = np.clip(np.pad(wide, (0, RNNOISE_DELAY)) * 32768.0, -32768, 32767).astype(np.int16)
    parts = [frame for _, frame in denoiser.denoise_chunk(chunk[None], partial=True)]
    cleaned = np.concatenate(parts, axis=1)[0, RNNOISE_DELAY:].astype(np.float32) / 32768.0
    narrow = resample(Audio(cleaned, 48000), audio.sample_rate).samples
    fitted = np.zeros(len(audio.samples), np.float32)
    fitted[: len(narrow)] = narrow[: len(fitted)]
    return fitted
