"""What the official pipeline does around the networks: batches of sentences, joins, 16 bit.

`join_by_sola` and `SolaJoiner` join chunks of one sentence, `finish_fragment` and `assemble`
sentences; `plan_batches` says which sentences share a batch, which in the official way of
rendering changes the numbers. Works on plain arrays; knows no networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kouji.errors import UsageError
from kouji.types import Samples

SEARCH_SAMPLES = 320  # how far a chunk may slide to meet the one before: 10 ms
DEFAULT_PAUSE_SECONDS = 0.3
PAUSE_RATE = 32000  # pauses are counted at this rate whatever the output's is
DEFAULT_BATCH_THRESHOLD = 0.75

T = TypeVar("T")


def plan_batches(
    text_lengths: Sequence[int],
    batch_size: int,
    *,
    threshold: float = DEFAULT_BATCH_THRESHOLD,
    by_length: bool = True,
) -> list[list[int]]:
    """Which sentences the official pipeline renders together.

    text_lengths: characters of each normalised sentence
    threshold:    a batch shrinks until its middle length is this share of its mean
    by_length:    sort first; else neighbours stay together
    returns:      indexes of the sentences, batch by batch
    """
    if batch_size < 1:
        raise UsageError("batch_size is wrong", seen=batch_size, allowed="1 or more")
    order = list(range(len(text_lengths)))
    if by_length:
        order.sort(key=lambda index: text_lengths[index])
    batches = []
    while order:
        size = min(batch_size, len(order))
        while by_length and size > 1:
            lengths = [text_lengths[index] for index in order[:size]]
            if lengths[size // 2] >= threshold * sum(lengths) / size:
                break
            size -= 1
        batches.append(order[:size])
        order = order[size:]
    return batches


def restore_order(batches: Sequence[Sequence[T]], indexes: Sequence[Sequence[int]]) -> list[T]:
    """Bring what was made batch by batch into the order of the text.

    indexes: as `plan_batches` gave them
    """
    made = {
        index: item
        for items, places in zip(batches, indexes, strict=True)
        for item, index in zip(items, places, strict=True)
    }
    return [made[index] for index in sorted(made)]


def finish_fragment(samples: Samples, pause_seconds: float = DEFAULT_PAUSE_SECONDS) -> Samples:
    """Bring a sentence within full scale and let a pause follow.

    samples: (samples,) float32; returns (samples + pause,)
    """
    peak = float(np.abs(samples).max(initial=0.0))
    scaled = samples / np.float32(peak) if peak > 1.0 else samples
    return np.concatenate([scaled, np.zeros(int(PAUSE_RATE * pause_seconds), np.float32)])


def assemble(fragments: Sequence[Samples], pause_seconds: float = DEFAULT_PAUSE_SECONDS) -> Samples:
    """Join sentences in their order, each with its pause: (samples,) float32."""
    finished = [finish_fragment(each, pause_seconds) for each in fragments]
    return np.concatenate([np.zeros(0, np.float32), *finished])


def to_int16(samples: Samples, *, compat: bool = False) -> NDArray[np.int16]:
    """16-bit samples, fractions cut off.

    compat: let exactly +1.0 (which `finish_fragment` makes) wrap to -32768, a click, as the
            official code does; otherwise it becomes 32767, and all else is the same
    """
    scaled = np.asarray(samples, np.float32) * np.float32(32768.0)
    if not compat:
        scaled = scaled.clip(-32768.0, 32767.0)
    return scaled.astype(np.int64).astype(np.int16)


class SolaJoiner:
    """Joins overlapping chunks where their waves agree (synchronous overlap-add).

    Each chunk begins with what the one before ended on; it slides by up to `search` samples to
    where the two correlate best, and they cross-fade. The last `overlap` samples of a chunk wait
    for the next one. The official streaming leaves the last chunk of a sentence unaligned, which
    can click; here it is treated as all others.
    """

    def __init__(self, overlap: int, search: int = SEARCH_SAMPLES) -> None:
        """overlap, search: samples"""
        if overlap < 1 or search < 0:
            raise UsageError(
                "SOLA's lengths are wrong",
                seen=(overlap, search),
                allowed="overlap >= 1, search >= 0",
            )
        self.overlap, self.search = overlap, search
        self._held = np.zeros(0, np.float32)

    def push(self, chunk: Samples, *, is_final: bool = False) -> Samples:
        """Give the next chunk (samples,); get what is settled. `is_final` gives all."""
        joined = self._join(np.asarray(chunk, np.float32))
        kept = 0 if is_final else min(self.overlap, len(joined))
        self._held = joined[len(joined) - kept :]
        return joined[: len(joined) - kept]

    def _join(self, chunk: Samples) -> Samples:
        if len(self._held) == 0 or len(chunk) == 0:
            return np.concatenate([self._held, chunk])
        width = min(len(self._held), len(chunk))
        held = self._held[:width]  # a chunk shorter than the overlap is all cross-fade
        joined = chunk[find_shift(held, chunk[: width + self.search]) :].copy()
        rising = _rising_half(width)
        joined[:width] = rising * joined[:width] + (1.0 - rising) * held
        return joined


def join_by_sola(chunks: Sequence[Samples], overlap: int, search: int = SEARCH_SAMPLES) -> Samples:
    """Join all chunks of a sentence: (samples,) float32; see `SolaJoiner`."""
    joiner = SolaJoiner(overlap, search)
    parts = [joiner.push(chunk) for chunk in chunks[:-1]]
    parts += [joiner.push(chunk, is_final=True) for chunk in chunks[-1:]]
    return np.concatenate([np.zeros(0, np.float32), *parts])


def find_shift(tail: Samples, head: Samples) -> int:
    """How many samples to drop from `head` so that it goes on from `tail`.

    The largest normalised cross-correlation; `head` is at least as long as `tail`.
    """
    windows = np.lib.stride_tricks.sliding_window_view(head.astype(np.float64), len(tail))
    energy = np.square(windows).sum(axis=1)
    return int(np.argmax(windows @ tail.astype(np.float64) / np.sqrt(energy + 1e-8)))


def _rising_half(width: int) -> Samples:
    """First half of a periodic Hann window of twice the width; with its mirror it sums to 1."""
    half: Samples = (0.5 - 0.5 * np.cos(np.pi * np.arange(width) / width)).astype(np.float32)
    return half
