"""At which speed a recording would carry the watermark: a search over factors near one.

A sound played faster by a factor has the mark's lines at that factor times their frequencies.
One long spectrum of the whitened piece holds them for every factor: a fast pass over the lower
half of the band finds where to look, a close one at the best places decides. Change of tempo
alone (the pitch kept) cuts the sound into pieces of its own and is not found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kouji.audio.watermark_pattern import HIGH_HZ, LOW_HZ, Lines, patterns
from kouji.audio.watermark_peak import Peak, peaks_in_bands
from kouji.audio.watermark_whiten import FINDER_RATE

MAX_CHANGE = 0.06
PIECE_SECONDS, NUM_PIECES = 4, 2
_FAST_HIGH_HZ = 3500
_FAST_OFFSETS = 16_384
_NUM_SPECTRUM = 1 << 18  # 16.4 s: four times the piece, so that lines can lie between bins
_FAST_STEP = 3e-4  # over the piece's seconds: at half a step off, 0.85 of the peak is left
_NUM_CLOSE, _CLOSE_STEPS = 6, 9
_BATCH = 32


class SpeedPeak(NamedTuple):
    """How much faster a piece plays than it was made, and how the mark then fits."""

    speed: float
    peak: Peak


def best_speed(whitened: NDArray[np.float64], is_narrow: bool) -> SpeedPeak:
    """Look at every speed within MAX_CHANGE.

    whitened:  (samples,) up to PIECE_SECONDS, by `watermark_whiten.whiten`
    is_narrow: there is nothing above TELEPHONE_HZ
    """
    spectrum = _centred_spectrum(whitened)
    step = _FAST_STEP * FINDER_RATE / len(whitened)
    num_steps = round(MAX_CHANGE / step)
    speeds = np.asarray(1 + step * np.arange(-num_steps, num_steps + 1), np.float64)
    scores = np.concatenate(list(_fast_scores(spectrum, speeds)))
    places = np.argsort(scores)[-_NUM_CLOSE:]
    shifts = np.linspace(-0.75, 0.75, _CLOSE_STEPS) * step
    close = (
        SpeedPeak(speed, peak)
        for speed in (speeds[places][:, None] + shifts).reshape(-1).tolist()
        for peak in peaks_in_bands(_lines_at(spectrum, speed, HIGH_HZ), is_narrow)
    )
    return max(close, key=lambda it: it.peak.score)


def _centred_spectrum(whitened: NDArray[np.float64]) -> NDArray[np.complex64]:
    """The spectrum with time 0 in the middle of the piece: it turns slowly from bin to bin."""
    padded = np.zeros(_NUM_SPECTRUM, np.float32)
    middle = len(whitened) // 2
    padded[: len(whitened) - middle] = whitened[middle:]
    padded[len(padded) - middle :] = whitened[:middle]
    return np.asarray(np.fft.rfft(padded), np.complex64)


def _lines_at(spectrum: NDArray[np.complex64], speed: float, high_hz: int) -> Lines:
    """(lines,) what lies at `speed` times every whole Hz from LOW_HZ below `high_hz`."""
    places = np.arange(LOW_HZ, high_hz) * (speed * _NUM_SPECTRUM / FINDER_RATE)
    below = np.minimum(places.astype(np.int64), len(spectrum) - 2)
    share = (places - below).astype(np.float32)
    lines: Lines = spectrum[below] * (1 - share) + spectrum[below + 1] * share
    return lines


def _fast_scores(
    spectrum: NDArray[np.complex64], speeds: NDArray[np.float64]
) -> Iterator[NDArray[np.float32]]:
    """The presence pattern's peak at each speed, from the lower part of the band."""
    pattern = patterns()[0, : _FAST_HIGH_HZ - LOW_HZ].conj()
    for start in range(0, len(speeds), _BATCH):
        batch = speeds[start : start + _BATCH]
        bins = np.zeros((len(batch), _FAST_OFFSETS // 2 + 1), np.complex64)
        for row, speed in zip(bins, batch, strict=True):
            row[LOW_HZ:_FAST_HIGH_HZ] = _lines_at(spectrum, speed, _FAST_HIGH_HZ) * pattern
        correlations = np.fft.irfft(bins, _FAST_OFFSETS, axis=1)
        power = np.mean(correlations**2, axis=1)
        yield np.abs(correlations).max(axis=1) / np.sqrt(np.maximum(power, 1e-30))
