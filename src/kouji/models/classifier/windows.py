"""Cuts sound into the windows a classifier hears: whole recordings, or piece by piece as it comes.

Both give the same windows. A maker holds one window and what came since, however long the sound.
Knows samples; knows no network and no labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kouji.errors import UsageError
from kouji.types import Samples

# Quieter stretches are padding: the noise of 16 bits lies near -96 dBFS, no recording below -80.
SILENCE_DBFS = -80.0
_FRAME_SECONDS = 0.01  # the grain in which silence is told from sound


@dataclass(frozen=True)
class Window:
    """One window.

    start, end:   samples of the sound it holds; `end` is exclusive
    samples:      (window_samples,) float32, zeros behind a sound that is shorter
    num_sounding: how many of them are not silence
    """

    start: int
    end: int
    samples: Samples
    num_sounding: int


def cut(num_samples: int, window_samples: int, hop_samples: int) -> list[tuple[int, int]]:
    """Where the windows of a sound begin and end, in samples.

    One every `hop_samples`; the last ends where the sound ends, so nothing is left unheard. A
    sound shorter than a window is one window, which ends with it.

    raises: UsageError for a hop that would leave sound out
    """
    check_hop(hop_samples, window_samples)
    if num_samples <= window_samples:
        return [(0, num_samples)] if num_samples > 0 else []
    starts = list(range(0, num_samples - window_samples + 1, hop_samples))
    if starts[-1] + window_samples < num_samples:
        starts.append(num_samples - window_samples)
    return [(start, start + window_samples) for start in starts]


def check_hop(hop_samples: int, window_samples: int) -> None:
    """Raise UsageError for a hop that is not from one sample to one window."""
    if not 1 <= hop_samples <= window_samples:
        raise UsageError(
            "the hop from window to window is out of range",
            seen=f"{hop_samples} samples",
            allowed=f"1 to {window_samples} samples, one window",
        )


class WindowMaker:
    """Makes the windows of one sound that comes in pieces; each as soon as it is complete."""

    def __init__(self, window_samples: int, hop_samples: int, sample_rate: int) -> None:
        """Begin a sound; raises UsageError for a hop that would leave sound out."""
        check_hop(hop_samples, window_samples)
        self._window, self._hop = window_samples, hop_samples
        self._frame = max(1, round(_FRAME_SECONDS * sample_rate))
        self._pieces: list[Samples] = []
        self._start = 0  # of what is held, in the sound
        self._next = 0  # start of the next window
        self.num_samples = 0

    def push(self, samples: Samples) -> Iterator[Window]:
        """Take (samples,) float32 in; gives the windows that are complete now, one by one."""
        self._pieces.append(np.asarray(samples, np.float32))
        self.num_samples += len(samples)
        return self._complete()

    def _complete(self) -> Iterator[Window]:
        while self._next + self._window <= self.num_samples:
            yield self._window_at(self._next)
            self._next += self._hop

    def close(self) -> Iterator[Window]:
        """The sound has ended: the window that ends with it, if it was not given yet."""
        last_end = self._next - self._hop + self._window
        if self._next == 0 and self.num_samples > 0:
            held = self._joined()
            padded = np.zeros(self._window, np.float32)
            padded[: len(held)] = held
            yield Window(0, len(held), padded, count_sounding(padded, self._frame))
        elif self._next > 0 and last_end < self.num_samples:
            yield self._window_at(self.num_samples - self._window)

    def _window_at(self, start: int) -> Window:
        held = self._joined()
        # Any later window begins behind this one.
        self._pieces, self._start = [held[start - self._start :]], start
        samples = self._pieces[0][: self._window].copy()
        sounding = count_sounding(samples, self._frame)
        return Window(start, start + self._window, samples, sounding)

    def _joined(self) -> Samples:
        if len(self._pieces) != 1:
            self._pieces = [np.concatenate([np.zeros(0, np.float32), *self._pieces])]
        return self._pieces[0]


def count_sounding(samples: Samples, frame_samples: int) -> int:
    """How many samples lie in frames louder than `SILENCE_DBFS`."""
    num_frames = -(-len(samples) // frame_samples)
    padded = np.zeros(num_frames * frame_samples, np.float32)
    padded[: len(samples)] = samples
    power = np.square(padded.reshape(num_frames, frame_samples)).mean(axis=1)
    is_sounding = power > 10.0 ** (SILENCE_DBFS / 10.0)
    sizes = np.full(num_frames, frame_samples)
    if num_frames:
        sizes[-1] = len(samples) - (num_frames - 1) * frame_samples
    return int(sizes[is_sounding].sum())
