"""Cuts a recording at silences as "audio-slicer 2" does, sample for sample.

Data sets of GPT-SoVITS users are cut this way; `slice` is our own way, which knows speech from
silence. Here only the level counts: a stretch below a threshold is silence. Knows levels and
samples, no words and no speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kouji.errors import ConfigError
from kouji.types import Audio, Samples

_BLOCK_HOPS = 4096  # levels are measured on so many windows at once: bounds the memory


@dataclass(frozen=True)
class SilenceSliceConfig:
    """Limits of the slicer; the defaults are those of the GPT-SoVITS interface.

    threshold_db:        below this level is silence
    min_length_ms:       a piece is at least this long
    min_interval_ms:     a silence to cut at is at least this long
    hop_ms:              step at which levels are measured
    max_silence_kept_ms: of a silence that is cut, at most this stays on each side
    """

    threshold_db: float = -34.0
    min_length_ms: float = 4000.0
    min_interval_ms: float = 300.0
    hop_ms: float = 10.0
    max_silence_kept_ms: float = 500.0

    def __post_init__(self) -> None:
        if not self.min_length_ms >= self.min_interval_ms >= self.hop_ms > 0:
            raise ConfigError(
                "slicer lengths contradict each other",
                seen=(self.min_length_ms, self.min_interval_ms, self.hop_ms),
                allowed="min_length >= min_interval >= hop > 0",
            )
        if self.max_silence_kept_ms < self.hop_ms:
            raise ConfigError(
                "the slicer keeps too little silence",
                seen=self.max_silence_kept_ms,
                allowed="max_silence_kept >= hop",
            )


class Piece(NamedTuple):
    """Samples from `start` to `end` of the recording; `end` may lie up to a hop behind it."""

    start: int
    end: int
    samples: Samples


class _Hops(NamedTuple):
    """The limits of a config in hops."""

    threshold: float
    min_length: int
    min_interval: int
    max_kept: int


def slice_at_silence(audio: Audio, config: SilenceSliceConfig | None = None) -> list[Piece]:
    """Cut at long silences and drop their middles; without one the recording stays whole."""
    config = config or SilenceSliceConfig()
    rate, num_samples = audio.sample_rate, len(audio.samples)
    hop = max(1, round(rate * config.hop_ms / 1000))
    interval = rate * config.min_interval_ms / 1000  # samples
    limits = _Hops(
        threshold=10.0 ** (config.threshold_db / 20.0),
        min_length=round(rate * config.min_length_ms / 1000 / hop),
        min_interval=round(interval / hop),
        max_kept=round(rate * config.max_silence_kept_ms / 1000 / hop),
    )
    # The official code compares samples with hops here: only a fraction of a second stays whole.
    if num_samples <= limits.min_length:
        return [Piece(0, num_samples, audio.samples)]
    levels = _measure_levels(audio.samples, min(round(interval), 4 * hop), hop)
    gaps = _find_gaps(levels, limits)
    if not gaps:
        return [Piece(0, num_samples, audio.samples)]
    starts = [0, *(end for _, end in gaps)]
    ends = [*(start for start, _ in gaps), len(levels)]
    return [
        Piece(start * hop, end * hop, audio.samples[start * hop : end * hop])
        for index, (start, end) in enumerate(zip(starts, ends, strict=True))
        # Between gaps there is always a piece; before the first and behind the last there may be.
        if start < end or 0 < index < len(gaps)
    ]


def _measure_levels(samples: Samples, window: int, hop: int) -> NDArray[np.float32]:
    """Root mean square of windows centred on every hop, with zeros around the recording."""
    padded = np.pad(samples, window // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    blocks = [
        # In float32 and window by window: where silences tie, rounding decides on the cut.
        np.sqrt(np.mean(np.abs(windows[first : first + _BLOCK_HOPS]) ** 2, axis=1))
        for first in range(0, len(windows), _BLOCK_HOPS)
    ]
    return np.concatenate(blocks)


def _find_gaps(levels: NDArray[np.float32], limits: _Hops) -> list[tuple[int, int]]:
    """What falls away, in hops: from the end of a piece to the start of the next."""
    gaps: list[tuple[int, int]] = []
    piece_start = 0
    for start, end in _silences(levels, limits.threshold):
        if end == len(levels):  # trailing
            if end - start >= limits.min_interval:
                gaps.append((_quietest(levels, start, start + limits.max_kept + 1), end + 1))
            break
        is_long_lead = start == 0 and end > limits.max_kept
        is_cut = end - start >= limits.min_interval and end - piece_start >= limits.min_length
        if is_long_lead or is_cut:
            gaps.append(_gap_in(levels, start, end, limits.max_kept))
            piece_start = gaps[-1][1]
    return gaps


def _silences(levels: NDArray[np.float32], threshold: float) -> list[tuple[int, int]]:
    """Stretches below the threshold, [start, end) in hops."""
    is_silent = np.concatenate([[False], levels < threshold, [False]])
    edges = np.flatnonzero(np.diff(is_silent.astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _gap_in(levels: NDArray[np.float32], start: int, end: int, kept: int) -> tuple[int, int]:
    """What falls away of the silence [start, end); nothing of a short one, which is cut once."""
    if end - start <= kept:
        cut = _quietest(levels, start, end + 1)
        return (0 if start == 0 else cut, cut)
    left = _quietest(levels, start, start + kept + 1)
    right = _quietest(levels, end - kept, end + 1)
    if start == 0:
        return 0, right
    if end - start <= 2 * kept:  # both sides overlap in the middle
        middle = _quietest(levels, end - kept, start + kept + 1)
        return min(left, middle), max(right, middle)
    return left, right


def _quietest(levels: NDArray[np.float32], first: int, last: int) -> int:
    return first + int(levels[first:last].argmin())
