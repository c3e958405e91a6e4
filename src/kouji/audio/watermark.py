"""An inaudible mark in synthesised speech: it says "made by Kouji" and carries a 32-bit number.

Spread spectrum (I. Cox et al., 1997): a pseudo-random sound that repeats every second is added
22.5 dB below the speech in each critical band from 500 Hz to 7 kHz. The finder divides every
time-frequency bin by the speech in it, so that the gaps between harmonics, where the mark is
strong, count most; then it folds the sound to one second and tries every offset. Knows samples
only: no files, no labels. Figures and limits: docs/watermark.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kouji.audio.resample import resample
from kouji.errors import AudioError
from kouji.types import Audio, Samples

LOW_HZ, HIGH_HZ = 500, 7000  # survives 16 kHz and speech codecs; the pattern has a line every 1 Hz
MARK_LEVEL = 0.075  # amplitude of the mark to the speech in its critical band, -22.5 dB
MIN_RATE_HZ = 16_000
PAYLOAD_BITS = 32

# Pattern 0 marks presence and time; each other one carries 11 bits as its shift within the second.
_SYMBOL_BITS, _NUM_SYMBOLS, _CRC_BITS = 11, 4, 12
_NUM_SHIFTS = 1 << _SYMBOL_BITS
_PRESENCE_SHARE = 0.52  # of the mark's energy; the symbols share the rest
_SEED = 0x6B6F756A69  # "kouji"

_FINDER_RATE = 16_000
_OFFSETS = 48_000  # candidates in a second: a third of a sample at 16 kHz
_FRAME, _HOP = 1024, 256  # 64 ms resolves harmonics from about 60 Hz
_WINDOW_SECONDS = 8
_MIN_FINDER_SAMPLES = 4_000  # 0.25 s

# Gumbel fit to the scores of unmarked speech (benchmarks/watermark.py), one window each.
NULL_LOCATION, NULL_SCALE = 4.19, 0.23
FALSE_ALARM_RATE = 5e-4  # per recording asked about

Complex = NDArray[np.complex64]


@dataclass(frozen=True)
class Detection:
    """What was found: `score` is the pattern's peak in standard deviations of what is no peak.

    payload: the number, or None where only presence is certain
    """

    found: bool
    payload: int | None
    score: float


class EmbedState:
    """Where a stream stands; one per stream, never shared."""

    def __init__(self, sample_rate: int, payload: int) -> None:
        """Prepare for mono samples at `sample_rate` Hz that shall carry `payload`."""
        self.sample_rate, self.payload = sample_rate, payload
        self.shaper = _shaper(sample_rate)
        self.pattern = _pattern_frames(sample_rate, payload)
        hop = self.shaper.hop
        self.num_done = 0
        self.past = np.zeros(2 * hop, np.float32)  # input from two hops before the current one
        self.mark = np.zeros(0, np.float32)  # of the current hop, as far as it is not yet used
        self.tail = np.zeros(hop, np.float32)  # second half of the last frame of the mark


@dataclass(frozen=True)
class _Shaper:
    """Constants of one sampling rate. Frames are two hops long, a hop is about 12 ms."""

    hop: int
    window: Samples  # (2 hop,) Hann, for measuring the speech
    root: Samples  # (2 hop,) its root, on both sides of shaping the mark
    to_bands: Samples  # (bins, bands): mean power in each critical band
    from_bands: Samples  # (bands, bins): back to bins, 0 outside the mark's range


def embed(
    samples: Samples, sample_rate: int, payload: int, state: EmbedState | None = None
) -> Samples:
    """Add the mark; as many samples come out as go in, without delay.

    samples: (samples,) float32, a whole clip, or the next chunk of a stream with its `state`
    payload: 0 to 2**32 - 1
    state:   EmbedState(sample_rate, payload), changed by this call; chunks then equal the whole

    The mark's level follows the 25 ms just past, so a sudden sound is never preceded by it.
    """
    if state is None:
        state = EmbedState(sample_rate, payload)
    if (state.sample_rate, state.payload) != (sample_rate, payload):
        raise AudioError(
            "the watermark's state belongs to another stream",
            seen=f"{sample_rate} Hz, payload {payload}",
            allowed=f"{state.sample_rate} Hz, payload {state.payload}",
        )
    samples = np.ascontiguousarray(samples, dtype=np.float32)
    marked = np.empty_like(samples)
    for start in range(0, len(samples), sample_rate):  # a second at a time stays in the cache
        piece = samples[start : start + sample_rate]
        mark = np.concatenate([state.mark, _next_mark(piece, state)])
        state.mark = mark[len(piece) :]
        state.num_done += len(piece)
        np.add(piece, mark[: len(piece)], out=marked[start : start + sample_rate])
    return marked


def _next_mark(samples: Samples, state: EmbedState) -> Samples:
    """The mark for the hops that begin within `samples`; remembers the input they will need."""
    shaper, hop = state.shaper, state.shaper.hop
    first = -(-state.num_done // hop)  # hops begun so far
    num_hops = -(-(state.num_done + len(samples)) // hop) - first
    known = np.concatenate([state.past, samples])
    start = len(state.past) - 2 * hop - (state.num_done - first * hop)
    if num_hops == 0:
        state.past = known
        return samples[:0]
    last_needed = start + num_hops * hop
    frames = np.lib.stride_tricks.sliding_window_view(known, 2 * hop)[start:last_needed:hop]
    state.past = known[last_needed:]
    spectrum = np.fft.rfft(frames * shaper.window, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    level = np.sqrt(power @ shaper.to_bands) @ shaper.from_bands
    which = np.arange(first, first + num_hops) % len(state.pattern)
    shaped = np.fft.irfft(state.pattern[which] * level, n=2 * hop, axis=1) * shaper.root
    halves = shaped.astype(np.float32, copy=False).reshape(num_hops, 2, hop)
    mark = halves[:, 0].copy()
    mark[0] += state.tail
    mark[1:] += halves[:-1, 1]
    state.tail = halves[-1, 1].copy()
    return mark.reshape(-1)


@functools.lru_cache(maxsize=8)
def _shaper(sample_rate: int) -> _Shaper:
    hops_per_second = [n for n in range(60, 121) if sample_rate % n == 0]
    if sample_rate < MIN_RATE_HZ or not hops_per_second:
        raise AudioError(
            "this sampling rate cannot carry the watermark",
            seen=f"{sample_rate} Hz",
            allowed=f"{MIN_RATE_HZ} Hz or more with a divisor between 60 and 120",
            cure="resample to 24000 or 48000 Hz first",
        )
    hop = sample_rate // min(hops_per_second, key=lambda n: abs(n - 80))
    window = np.hanning(2 * hop + 1)[:-1]
    hertz = np.fft.rfftfreq(2 * hop, 1 / sample_rate)
    centres = np.arange(float(_bark(LOW_HZ)) - 1, float(_bark(HIGH_HZ)) + 1.5)
    weights = np.maximum(0, 1 - np.abs(_bark(hertz)[:, None] - centres))  # triangles, sum 1
    is_marked = (hertz >= LOW_HZ - 50) & (hertz <= HIGH_HZ + 50)
    level = MARK_LEVEL / math.sqrt(float((window**2).sum()))
    return _Shaper(
        hop,
        window.astype(np.float32),
        np.sqrt(window).astype(np.float32),
        (weights / weights.sum(0)).astype(np.float32),
        (weights * is_marked[:, None] * level).T.astype(np.float32).copy(),
    )


def _bark(hertz: ArrayLike) -> NDArray[np.float64]:
    """Critical bands: 6 asinh(f / 600), H. Hermansky's (1990) form."""
    return np.asarray(6 * np.arcsinh(np.asarray(hertz, np.float64) / 600))


@functools.lru_cache(maxsize=1)
def _patterns() -> Complex:
    """(1 + symbols, lines) unit phasors, one for each whole Hz from LOW_HZ below HIGH_HZ.

    The generator is spelled out, not taken from a library: a mark must be found for ever.
    """
    num_values = (1 + _NUM_SYMBOLS) * (HIGH_HZ - LOW_HZ)
    mask = (1 << 64) - 1
    state, values = _SEED, np.empty(num_values)
    for i in range(num_values):  # splitmix64, Steele, Lea and Flood (2014)
        state = (state + 0x9E3779B97F4A7C15) & mask
        mixed = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & mask
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & mask
        values[i] = (mixed ^ mixed >> 31) / 2.0**64
    phasors = np.exp(2j * np.pi * values).reshape(1 + _NUM_SYMBOLS, -1)
    return np.asarray(phasors, np.complex64)


@functools.lru_cache(maxsize=8)
def _pattern_frames(sample_rate: int, payload: int) -> Complex:
    """(hops a second, bins): spectra of the frames of the one-second pattern, density 1."""
    shaper = _shaper(sample_rate)
    hertz = np.arange(LOW_HZ, HIGH_HZ)
    patterns = _patterns().astype(np.complex128)
    lines = math.sqrt(_PRESENCE_SHARE) * patterns[0]
    amplitude = math.sqrt((1 - _PRESENCE_SHARE) / _NUM_SYMBOLS)
    for pattern, symbol in zip(patterns[1:], _symbols(payload), strict=True):
        lines = lines + amplitude * pattern * np.exp(-2j * np.pi * hertz * symbol / _NUM_SHIFTS)
    spectrum = np.zeros(sample_rate // 2 + 1, np.complex128)
    spectrum[LOW_HZ:HIGH_HZ] = lines
    second = np.fft.irfft(spectrum, sample_rate) * math.sqrt(sample_rate)
    looped = np.concatenate([second, second[: shaper.hop]])
    frames = np.lib.stride_tricks.sliding_window_view(looped, 2 * shaper.hop)[:: shaper.hop]
    return np.asarray(np.fft.rfft(frames * shaper.root, axis=1), np.complex64)


def _crc(payload: int) -> int:
    """CRC-12 (x^12 + x^11 + x^3 + x^2 + x + 1) over the 32 bits, begun with ones."""
    register = 0xFFF
    for shift in range(PAYLOAD_BITS - 1, -1, -1):
        is_set = (register >> 11 ^ payload >> shift) & 1
        register = (register << 1 & 0xFFF) ^ (0x80F if is_set else 0)
    return register


def _symbols(payload: int) -> list[int]:
    if not isinstance(payload, int) or not 0 <= payload < 1 << PAYLOAD_BITS:
        raise AudioError(
            "the watermark's number is out of range", seen=payload, allowed="0 to 4294967295"
        )
    word = payload << _CRC_BITS | _crc(payload)
    return [word >> _SYMBOL_BITS * i & _NUM_SHIFTS - 1 for i in range(_NUM_SYMBOLS)]


def detect(audio: Audio) -> Detection:
    """Look for the mark anywhere in `audio`, from 0.25 s on; 3 s and more give sure answers.

    Each window of 8 s is searched, and all of them together; the best counts. The threshold rises
    with the number of searches, so that a long recording gives no more false alarms than a short.
    """
    if audio.sample_rate < MIN_RATE_HZ or len(audio.samples) == 0:
        return Detection(found=False, payload=None, score=0.0)
    samples = resample(audio, _FINDER_RATE).samples
    if len(samples) < _MIN_FINDER_SAMPLES or not np.any(samples):
        return Detection(found=False, payload=None, score=0.0)
    total = np.zeros(HIGH_HZ - LOW_HZ, np.complex128)
    best, num_searches = Detection(found=False, payload=None, score=0.0), 0
    for lines in _window_lines(samples):
        total += lines
        num_searches += 1
        best = max(best, _search(lines), key=_strength)
    if num_searches > 1:
        num_searches += 1
        best = max(best, _search(total), key=_strength)
    found = best.score >= threshold(num_searches)
    return Detection(found, best.payload if found else None, best.score)


def _strength(detection: Detection) -> float:
    return detection.score


def threshold(num_searches: int = 1) -> float:
    """The score from which on a recording counts as marked, by the measured null distribution."""
    rate = FALSE_ALARM_RATE / num_searches
    return NULL_LOCATION - NULL_SCALE * math.log(-math.log1p(-rate))


def _window_lines(samples: Samples) -> Iterator[NDArray[np.complex128]]:
    """(lines,) of each window: the folded, whitened sound at the mark's frequencies."""
    num_window = _WINDOW_SECONDS * _FINDER_RATE
    for start in range(0, len(samples), num_window):
        piece = samples[start : start + num_window]
        if len(piece) < _MIN_FINDER_SAMPLES or not np.any(piece):
            continue
        whitened = _whiten(piece)
        padding = -len(whitened) % _FINDER_RATE
        second = np.pad(whitened, (0, padding)).reshape(-1, _FINDER_RATE).sum(axis=0)
        yield np.fft.rfft(second)[LOW_HZ:HIGH_HZ]


def _whiten(samples: Samples) -> NDArray[np.float64]:
    """Weigh each bin by (level the mark would have) / (power of what hides it), the matched filter.

    The mark's level is the smooth spectrum less a steady background, which carries no mark.
    """
    padded = np.pad(samples, _FRAME)
    num_frames = (len(padded) - _FRAME) // _HOP + 1
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    spectrum = np.fft.rfft(frames * window, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    smooth = np.maximum(_smooth(power), 1e-12 * float(power.max()) + 1e-30)
    inner = slice(_FRAME // _HOP, -(_FRAME // _HOP))
    background = np.percentile(smooth[inner], 10, axis=0) if num_frames > 12 else 0.0
    level = np.sqrt(np.maximum(smooth - background, 1e-4 * smooth))
    weighted = spectrum * level / (power + 0.02 * smooth)
    pieces = np.fft.irfft(weighted, n=_FRAME, axis=1) * window
    whitened = np.zeros(len(padded) + _FRAME)
    for i in range(_FRAME // _HOP):
        column = pieces[:, i * _HOP : (i + 1) * _HOP].reshape(-1)
        whitened[i * _HOP : i * _HOP + len(column)] += column
    return whitened[_FRAME : _FRAME + len(samples)]


def _smooth(power: ArrayLike) -> NDArray[np.float64]:
    """Mean over 200 Hz to both sides of every bin."""
    reach = 200 * _FRAME // _FINDER_RATE
    sums = np.cumsum(
        np.pad(np.asarray(power), ((0, 0), (reach + 1, reach))), axis=1, dtype=np.float64
    )
    width = 2 * reach + 1
    smooth: NDArray[np.float64] = (sums[:, width:] - sums[:, :-width]) / width
    return smooth


def _search(lines: NDArray[np.complex128]) -> Detection:
    """Correlate with the presence pattern at every offset; read the payload at the best one."""
    patterns = _patterns()
    spectrum = np.zeros(_OFFSETS // 2 + 1, np.complex128)
    spectrum[LOW_HZ:HIGH_HZ] = lines * patterns[0].conj()
    correlation = np.fft.irfft(spectrum, _OFFSETS)
    spread = math.sqrt(float(np.mean(correlation**2)))
    if spread == 0.0:
        return Detection(found=False, payload=None, score=0.0)
    offset = int(np.argmax(np.abs(correlation)))
    sign = math.copysign(1.0, correlation[offset])  # recordings may be inverted
    hertz = np.arange(LOW_HZ, HIGH_HZ)
    aligned = sign * lines * np.exp(2j * np.pi * hertz * offset / _OFFSETS)
    score = abs(float(correlation[offset])) / spread
    return Detection(found=False, payload=_read_payload(aligned), score=score)


def _read_payload(aligned: NDArray[np.complex128]) -> int | None:
    """The number whose symbols correlate best; None when its check sum is wrong."""
    hertz = np.arange(LOW_HZ, HIGH_HZ)
    word = 0
    for i, pattern in enumerate(_patterns()[1:]):
        folded = np.zeros(_NUM_SHIFTS, np.complex128)  # times are multiples of 1/2048 s
        np.add.at(folded, hertz % _NUM_SHIFTS, aligned * pattern.conj())
        word |= int(np.argmax(np.fft.ifft(folded).real)) << _SYMBOL_BITS * i
    payload, check = word >> _CRC_BITS, word & (1 << _CRC_BITS) - 1
    return payload if check == _crc(payload) else None
