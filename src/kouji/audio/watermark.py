"""An inaudible mark in synthesised speech: it says "made by Kouji" and carries a 32-bit number.

Spread spectrum (I. Cox et al., 1997): a pseudo-random sound that repeats every second is added
23 dB below the speech in each critical band from 500 Hz to 7 kHz; like the ear's own masking it
dies away over some 50 ms where the speech stops at once. Here it is put in; how it is found is in
watermark_finder.py. Knows samples only: no files, no labels. Figures, limits: docs/watermark.md.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kouji.audio.watermark_code import PAYLOAD_BITS
from kouji.audio.watermark_finder import Detection, detect, threshold
from kouji.audio.watermark_pattern import HIGH_HZ, LOW_HZ, Complex, lines_of
from kouji.errors import AudioError
from kouji.types import Samples

__all__ = ["PAYLOAD_BITS", "Detection", "EmbedState", "detect", "embed", "threshold"]

MARK_LEVEL = 0.07  # amplitude of the mark to the speech in its critical band, -23 dB
MIN_RATE_HZ = 16_000
# After a loud sound the mark falls by 3 dB a hop (12 ms), then ends: the ear's masking falls
# slower. In those moments nothing hides the mark from the finder: worth 1 to 2 dB after codecs.
AFTERGLOW_HOPS, AFTERGLOW_FALL = 4, 0.5


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
        num_bands = self.shaper.to_bands.shape[1]
        self.bands = np.zeros((AFTERGLOW_HOPS, num_bands), np.float32)  # power in hops before


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
    bands = np.asarray(power @ shaper.to_bands, np.float32)
    state.bands, glowing = _with_afterglow(state.bands, bands)
    level = np.sqrt(glowing) @ shaper.from_bands
    which = np.arange(first, first + num_hops) % len(state.pattern)
    shaped = np.fft.irfft(state.pattern[which] * level, n=2 * hop, axis=1) * shaper.root
    halves = shaped.astype(np.float32, copy=False).reshape(num_hops, 2, hop)
    mark = halves[:, 0].copy()
    mark[0] += state.tail
    mark[1:] += halves[:-1, 1]
    state.tail = halves[-1, 1].copy()
    return mark.reshape(-1)


def _with_afterglow(before: Samples, bands: Samples) -> tuple[Samples, Samples]:
    """The last hops for the next call, and (hops, bands) power or what is left of power before."""
    known = np.concatenate([before, bands])
    glowing = bands
    for age in range(1, AFTERGLOW_HOPS + 1):
        earlier = known[AFTERGLOW_HOPS - age : len(known) - age]
        glowing = np.maximum(glowing, earlier * np.float32(AFTERGLOW_FALL**age))
    return known[-AFTERGLOW_HOPS:], glowing


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


@functools.lru_cache(maxsize=8)
def _pattern_frames(sample_rate: int, payload: int) -> Complex:
    """(hops a second, bins): spectra of the frames of the one-second pattern, density 1."""
    shaper = _shaper(sample_rate)
    spectrum = np.zeros(sample_rate // 2 + 1, np.complex128)
    spectrum[LOW_HZ:HIGH_HZ] = lines_of(payload)
    second = np.fft.irfft(spectrum, sample_rate) * math.sqrt(sample_rate)
    looped = np.concatenate([second, second[: shaper.hop]])
    frames = np.lib.stride_tricks.sliding_window_view(looped, 2 * shaper.hop)[:: shaper.hop]
    return np.asarray(np.fft.rfft(frames * shaper.root, axis=1), np.complex64)
