"""The number in the watermark: 32 bits to six symbols, and the likeliest number back.

A Reed-Solomon code over 11-bit symbols: any three of the six give the number, and two numbers
agree in two symbols at most. It is read softly: how well each of the 2048 values of each symbol
fits goes in, so that six weak symbols together are as good as three strong ones. Knows no sound.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
from numpy.typing import NDArray

from kouji.errors import AudioError

PAYLOAD_BITS = 32
SYMBOL_BITS = 11
NUM_VALUES = 1 << SYMBOL_BITS
NUM_SYMBOLS, NUM_NEEDED = 6, 3

_POLYNOMIAL = 0b1000_0000_0101  # x^11 + x^2 + 1, primitive
_LIST = 8  # values of each symbol that are tried
_FINALISTS = 200
# Of 2^32 numbers the best fits noise with 6.7 standard deviations; above this one in 3,000 would.
_MIN_FIT = 7.5
_MIN_ODDS = 1e5  # of the likeliest number against all others that were tried

Table = NDArray[np.int64]


def symbols_of(payload: int) -> list[int]:
    """The six symbols of a number.

    raises: AudioError for what is no number of 32 bits
    """
    if not isinstance(payload, int) or not 0 <= payload < 1 << PAYLOAD_BITS:
        raise AudioError(
            "the watermark's number is out of range", seen=payload, allowed="0 to 4294967295"
        )
    data = [payload >> SYMBOL_BITS * i & NUM_VALUES - 1 for i in range(NUM_NEEDED)]
    powers, logs = _field()
    word = []
    for i in range(NUM_SYMBOLS):  # the polynomial with these coefficients, at alpha^i
        symbol = 0
        for degree, value in enumerate(data):
            symbol ^= int(powers[logs[value] + i * degree]) if value else 0
        word.append(symbol)
    return word


def read_number(fits: NDArray[np.float64]) -> tuple[int, float] | None:
    """The likeliest number and how well it fits, in standard deviations; None where it is unsure.

    fits: (symbols, values) how well each value of each symbol fits, in standard deviations
    """
    best = np.argsort(fits, axis=1)[:, -_LIST:]
    words = np.concatenate([_words(best, triple) for triple in _triples()])
    totals = fits[np.arange(NUM_SYMBOLS), words].sum(axis=1)
    words = np.unique(words[np.argsort(totals)[-_FINALISTS:]], axis=0)  # found more than once
    totals = fits[np.arange(NUM_SYMBOLS), words].sum(axis=1)
    first = int(np.argmax(totals))
    fit = float(totals[first]) / math.sqrt(NUM_SYMBOLS)
    # What a value that was sent adds on average is also the scale of the log-likelihood.
    gaps = (totals - totals[first]) * max(0.0, float(totals[first])) / NUM_SYMBOLS
    odds_against = float(np.exp(gaps).sum()) - 1.0
    payload = _payload(words[first])
    if fit < _MIN_FIT or odds_against > 1 / _MIN_ODDS or payload >= 1 << PAYLOAD_BITS:
        return None
    return payload, fit


@functools.lru_cache(maxsize=1)
def _field() -> tuple[Table, Table]:
    """Powers of alpha in GF(2^11), twice over so that sums of two logarithms fit; logarithms."""
    powers, logs = np.zeros(4 * NUM_VALUES, np.int64), np.zeros(NUM_VALUES, np.int64)
    value = 1
    for i in range(NUM_VALUES - 1):
        powers[i :: NUM_VALUES - 1] = value
        logs[value] = i
        value <<= 1
        if value & NUM_VALUES:
            value ^= _POLYNOMIAL
    return powers, logs


def _times(left: Table, right: Table | int) -> Table:
    powers, logs = _field()
    product = powers[logs[left] + logs[right]]
    return np.where((left == 0) | (np.asarray(right) == 0), 0, product)


def _triples() -> list[tuple[int, ...]]:
    return list(itertools.combinations(range(NUM_SYMBOLS), NUM_NEEDED))


def _words(best: Table, triple: tuple[int, ...]) -> Table:
    """(words, symbols): every word that takes the symbols in `triple` from the lists `best`."""
    chosen = np.stack(np.meshgrid(*(best[i] for i in triple), indexing="ij"), -1)
    chosen = chosen.reshape(-1, NUM_NEEDED)
    words = np.zeros((len(chosen), NUM_SYMBOLS), np.int64)
    for place in range(NUM_SYMBOLS):
        for column, factor in enumerate(_lagrange(triple, place)):
            words[:, place] ^= _times(chosen[:, column], factor)
    return words


@functools.lru_cache(maxsize=256)
def _lagrange(triple: tuple[int, ...], place: int) -> tuple[int, ...]:
    """What the symbols in `triple` are multiplied by to give the symbol at `place`."""
    powers, logs = _field()
    order = NUM_VALUES - 1
    factors = []
    for i in triple:
        if place in triple:
            factors.append(int(place == i))
            continue
        exponent = 0
        for j in triple:
            if j != i:
                above = logs[powers[place] ^ powers[j]]
                exponent += int(above - logs[powers[i] ^ powers[j]])
        factors.append(int(powers[exponent % order]))
    return tuple(factors)


def _payload(word: Table) -> int:
    """The number whose word this is, from its first three symbols."""
    (s0, s1, s2), powers, logs = (int(v) for v in word[:NUM_NEEDED]), *_field()
    # Newton's form over the points x0 = 1, x1 = alpha, x2 = alpha^2.
    order = NUM_VALUES - 1
    x0, x1, x2 = (int(powers[i]) for i in range(NUM_NEEDED))

    def times(a: int, b: int) -> int:
        return int(powers[logs[a] + logs[b]]) if a and b else 0

    def over(a: int, b: int) -> int:
        return int(powers[(logs[a] - logs[b]) % order]) if a else 0

    slope01, slope12 = over(s0 ^ s1, x0 ^ x1), over(s1 ^ s2, x1 ^ x2)
    bend = over(slope01 ^ slope12, x0 ^ x2)
    constant = s0 ^ times(slope01, x0) ^ times(bend, times(x0, x1))
    linear = slope01 ^ times(bend, x0 ^ x1)
    return constant | linear << SYMBOL_BITS | bend << 2 * SYMBOL_BITS
