"""Another speaker, room or machine out of a mel spectrogram, for recognisers.

Stretches time, warps bands, colours, blurs, adds noise and hides stripes; all random
choices come from the generator handed in. Works on natural-log mels and knows no
audio. Masks: Park et al., "SpecAugment", Interspeech 2019.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
LOG_FLOOR = -11.5129  # natural log of 1e-5, the floor of the mel
MIN_FRAMES = 2


def augment(mel: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Make another speaker, room or machine out of a clip.

    mel:     (frames, mels) natural log of magnitudes, floor at 1e-5
    returns: (other frames, mels) float32
    """
    mel = _warp(mel, rng.uniform(0.88, 1.15), rng.uniform(0.92, 1.1))
    mel = mel + rng.uniform(-2.0, 1.0) + _smooth_curve(mel.shape[1], rng, 0.4)
    if rng.random() < 0.2:
        mel = _blur(mel)  # what models that predict an average do to detail
    if rng.random() < 0.4:
        mel = _add_noise(mel, rng)
    return _mask(np.maximum(mel, LOG_FLOOR), rng).astype(np.float32)


def _warp(mel: FloatArray, stretch: float, formants: float) -> FloatArray:
    """Resample time by `stretch` and bands by `formants` (a longer or shorter vocal tract)."""
    frames, bands = mel.shape
    num_frames = max(MIN_FRAMES, round(frames * stretch))
    times = np.linspace(0, frames - 1, num_frames)
    places = np.clip(np.arange(bands) * formants, 0, bands - 1)
    return rows_at(rows_at(mel, times).T, places).T


def rows_at(rows: FloatArray, places: NDArray[np.float64]) -> FloatArray:
    """Rows at fractional places, linearly between the two nearest."""
    low = np.floor(places).astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (places - low)[:, None].astype(np.float32)
    return np.asarray(rows[low] * (1 - share) + rows[high] * share, np.float32)


def _smooth_curve(num_bands: int, rng: np.random.Generator, depth: float) -> FloatArray:
    """A random colour over the bands: a few knots, joined."""
    knots = rng.normal(0, depth, 6)
    curve = np.interp(np.linspace(0, 5, num_bands), np.arange(6), knots)
    return curve.astype(np.float32)


def _blur(mel: FloatArray) -> FloatArray:
    """Average each value with its neighbours in time and band."""
    for _ in range(2):
        padded = np.pad(mel, ((1, 1), (0, 0)), mode="edge")
        mel = np.asarray((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4, np.float32).T
    return mel


def _add_noise(mel: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Add coloured steady noise 10 to 40 dB below the loud parts of the clip."""
    loud = np.quantile(mel, 0.9)
    distance = rng.uniform(10, 40) / 8.686  # dB to natural log of magnitude
    colour = _smooth_curve(mel.shape[1], rng, 1.0)
    noise = loud - distance + colour + rng.normal(0, 0.4, mel.shape)
    return np.asarray(np.logaddexp(2 * mel, 2 * noise) / 2, np.float32)


def _mask(mel: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Hide two stripes of bands and short stretches of time behind the clip's mean."""
    frames, bands = mel.shape
    hidden = mel.mean()
    for _ in range(2):
        width = int(rng.integers(0, 11))
        start = int(rng.integers(0, bands - width))
        mel[:, start : start + width] = hidden
    for _ in range(frames // 60):
        width = int(rng.integers(0, 7))
        start = int(rng.integers(0, frames - width))
        mel[start : start + width] = hidden
    return mel
