"""Which clips make which step: seeded, bucketed by duration, the same for any number of processes.

The batches of an epoch are planned globally from (seed, epoch); each batch is then split by
example over processes and passes. So the loss curve depends on neither, and a position in a run
is just two numbers: epoch and batch. Knows durations only, no audio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kouji.errors import TrainingError
from kouji.train.settings import RunSettings

# Durations are jittered by this much before sorting, so neighbours differ from epoch to epoch.
_BUCKET_JITTER = 0.05


@dataclass(frozen=True)
class Position:
    """The next batch to train on: `batch` counts within `epoch`, both from 0."""

    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Planned:
    """One global batch: `indices` into the dataset, `seconds` of speech in it, where it stands."""

    indices: tuple[int, ...]
    seconds: float
    position: Position

    def shard(self, part: int, parts: int) -> tuple[int, ...]:
        """The examples of share `part`; strides through the sorted batch, so shares weigh alike."""
        return self.indices[part::parts]


class BatchSampler:
    """Plans batches over clips of the given durations (seconds)."""

    def __init__(
        self,
        lengths: Sequence[float],
        settings: RunSettings,
        *,
        shuffle: bool = True,
        is_joint: bool = False,
    ) -> None:
        """is_joint: no batch of an epoch is smaller than half a batch_size, if there are two."""
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._settings, self._shuffle, self._is_joint = settings, shuffle, is_joint
        self._counted: tuple[int, int] | None = None  # epoch and its number of batches
        usable = self._lengths >= settings.min_seconds
        if settings.max_seconds:
            usable &= self._lengths <= settings.max_seconds
        self._usable = np.flatnonzero(usable)
        if not len(self._usable):
            raise TrainingError(
                "no clip has a permitted duration",
                seen=f"{len(self._lengths)} clips",
                allowed=f"{settings.min_seconds} to {settings.max_seconds or 'any'} seconds",
            )

    @property
    def num_usable(self) -> int:
        """Clips within the duration limits."""
        return len(self._usable)

    def fingerprint(self) -> str:
        """Changes when positions of another run would mean other clips here."""
        run = self._settings
        knobs = (run.seed, run.batch_seconds, run.batch_size, run.sample_power)
        digest = hashlib.sha256(repr(knobs).encode())
        digest.update(self._usable.tobytes() + self._lengths.tobytes())
        return digest.hexdigest()[:16]

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The batches of one epoch in order, each sorted from long to short."""
        rng = np.random.default_rng([self._settings.seed, epoch])
        drawn = self._draw(rng)
        durations = self._lengths[drawn]
        if self._shuffle:
            durations = durations * np.exp(rng.normal(0.0, _BUCKET_JITTER, len(drawn)))
        drawn = drawn[np.argsort(-durations, kind="stable")]
        batches = self._cut(drawn)
        if self._shuffle:
            batches = [batches[i] for i in rng.permutation(len(batches))]
        return batches

    def num_batches(self, epoch: int) -> int:
        """Batches of one epoch; drawn clips and jittered durations may change it a little."""
        run = self._settings
        if run.batch_size and not run.sample_power:
            return len(self._starts(self.num_usable))
        if self._counted is None or self._counted[0] != epoch:
            self._counted = epoch, len(self.epoch(epoch))
        return self._counted[1]

    def is_last(self, position: Position) -> bool:
        """Whether the batch at `position` ends its epoch."""
        return position.batch + 1 >= self.num_batches(position.epoch)

    def batches(self, start: Position) -> Iterator[Planned]:
        """All batches from `start` on, epoch after epoch, without end."""
        epoch, first = start.epoch, start.batch
        while True:
            batches = self.epoch(epoch)
            for number in range(first, len(batches)):
                indices = tuple(int(i) for i in batches[number])
                seconds = float(self._lengths[batches[number]].sum())
                yield Planned(indices, seconds, Position(epoch, number))
            epoch, first = epoch + 1, 0

    def _draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Clips of an epoch: each as often as its weight says, rounded up or down at random.

        Systematic resampling: the counts are within one of their expectation, so power 0 gives
        every clip exactly once.
        """
        order = rng.permutation(self._usable) if self._shuffle else self._usable
        if not self._settings.sample_power:
            return order
        weights = np.maximum(self._lengths[order], 1e-3) ** self._settings.sample_power
        edges = np.cumsum(weights) * (len(order) / weights.sum()) + rng.random()
        counts = np.diff(np.floor(edges), prepend=0.0)
        return np.repeat(order, counts.astype(np.int64))

    def _cut(self, ordered: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut clips sorted from long to short into batches within the limit (at least one each)."""
        if self._settings.batch_size:
            return np.split(ordered, self._starts(len(ordered))[1:])
        batches: list[NDArray[np.int64]] = []
        durations, limit = self._lengths[ordered], self._settings.batch_seconds
        first, longest = 0, 0.0
        for i, duration in enumerate(durations):
            longest = max(longest, float(duration))  # jitter may put a longer one second
            if i > first and longest * (i + 1 - first) > limit:
                batches.append(ordered[first:i])
                first, longest = i, float(duration)
        return [*batches, ordered[first:]]

    def _starts(self, num_clips: int) -> list[int]:
        """Where batches of `batch_size` begin; a small rest joins the last one if it has to."""
        step = self._settings.batch_size
        starts = list(range(0, num_clips, step))
        if self._is_joint and len(starts) > 1 and num_clips - starts[-1] < step / 2:
            starts.pop()
        return starts
