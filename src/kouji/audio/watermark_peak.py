"""Where the watermark's presence pattern fits a sound best: one look at one folded second.

Knows lines (one complex number for each whole Hz of the mark's band) and nothing of how they
were made: windows and speeds are the finder's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kouji.audio.watermark_code import read_number
from kouji.audio.watermark_pattern import HIGH_HZ, LOW_HZ, Lines, patterns, symbol_fits

TELEPHONE_HZ = 3_600  # what a sampling rate of 8 kHz leaves
_OFFSETS = 48_000  # candidates in a second: a third of a sample at 16 kHz
_MIN_READ_SCORE = 4.0  # below this the place of a mark is a guess


@dataclass(frozen=True)
class Peak:
    """Where the presence pattern fits best: in standard deviations, and what lies there."""

    score: float
    aligned: Lines

    def number(self) -> int | None:
        """The number that can be read here, if it is sure."""
        if self.score < _MIN_READ_SCORE:
            return None
        read = read_number(symbol_fits(self.aligned))
        return read and read[0]


def peaks_in_bands(lines: Lines, is_narrow: bool) -> Iterator[Peak]:
    """The best place in the whole band, unless there is none, and in a telephone's."""
    if not is_narrow:
        yield find_peak(lines)
    narrow = lines.copy()
    narrow[TELEPHONE_HZ - LOW_HZ :] = 0
    yield find_peak(narrow)


def find_peak(lines: Lines) -> Peak:
    """Correlate with the presence pattern at every offset."""
    spectrum = np.zeros(_OFFSETS // 2 + 1, np.complex128)
    spectrum[LOW_HZ:HIGH_HZ] = lines * patterns()[0].conj()
    correlation = np.fft.irfft(spectrum, _OFFSETS)
    spread = math.sqrt(float(np.mean(correlation**2)))
    if spread == 0.0:
        return Peak(0.0, lines)
    offset = int(np.argmax(np.abs(correlation)))
    sign = math.copysign(1.0, correlation[offset])  # recordings may be inverted
    hertz = np.arange(LOW_HZ, HIGH_HZ)
    aligned = sign * lines * np.exp(2j * np.pi * hertz * offset / _OFFSETS)
    return Peak(abs(float(correlation[offset])) / spread, aligned)
