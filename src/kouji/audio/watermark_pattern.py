"""The sound of the watermark before it is fitted to speech: sine waves on every whole Hz.

Pattern 0 says "here" and fixes the time; one more for each symbol of the number carries it as a
shift within the second. Everything that has to stay the same for ever stands here and in
watermark_code.py: change one of it, and older marks are lost.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from kouji.audio.watermark_code import NUM_SYMBOLS, NUM_VALUES, symbols_of

LOW_HZ, HIGH_HZ = 500, 7000  # survives 16 kHz and speech codecs
PRESENCE_SHARE = 0.56  # of the mark's energy; the symbols share the rest
_SEED = 0x6B6F756A69  # "kouji"

Complex = NDArray[np.complex64]
Lines = NDArray[np.complex128]  # one for each whole Hz from LOW_HZ below HIGH_HZ


@functools.lru_cache(maxsize=1)
def patterns() -> Complex:
    """(1 + symbols, lines) unit phasors, one for each whole Hz from LOW_HZ below HIGH_HZ.

    The generator is spelled out, not taken from a library: a mark must be found for ever.
    """
    num_values = (1 + NUM_SYMBOLS) * (HIGH_HZ - LOW_HZ)
    steps = np.arange(1, num_values + 1, dtype=np.uint64)
    mixed = np.uint64(_SEED) + steps * np.uint64(0x9E3779B97F4A7C15)  # splitmix64,
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)  # Steele, Lea
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)  # and Flood (2014)
    values = (mixed ^ mixed >> np.uint64(31)) / 2.0**64
    phasors = np.exp(2j * np.pi * values).reshape(1 + NUM_SYMBOLS, -1)
    return np.asarray(phasors, np.complex64)


def lines_of(payload: int) -> NDArray[np.complex128]:
    """(lines,) the phasors of a whole mark, of mean power 1."""
    hertz = np.arange(LOW_HZ, HIGH_HZ)
    lines = math.sqrt(PRESENCE_SHARE) * patterns()[0].astype(np.complex128)
    amplitude = math.sqrt((1 - PRESENCE_SHARE) / NUM_SYMBOLS)
    for pattern, symbol in zip(patterns()[1:], symbols_of(payload), strict=True):
        lines = lines + amplitude * pattern * np.exp(-2j * np.pi * hertz * symbol / NUM_VALUES)
    return np.asarray(lines)


def symbol_fits(aligned: NDArray[np.complex128]) -> NDArray[np.float64]:
    """(symbols, values): how well each value of each symbol fits, in standard deviations.

    aligned: (lines,) of a sound whose seconds begin where the pattern's do
    """
    hertz = np.arange(LOW_HZ, HIGH_HZ)
    folded = np.zeros((NUM_SYMBOLS, NUM_VALUES), np.complex128)  # times are multiples of 1/2048 s
    for row, pattern in zip(folded, patterns()[1:], strict=True):
        np.add.at(row, hertz % NUM_VALUES, aligned * pattern.conj())
    fits = np.fft.ifft(folded, axis=1).real
    spread = np.sqrt((np.abs(aligned) ** 2).sum() / 2) / NUM_VALUES
    return np.asarray(fits / spread) if spread > 0 else fits
