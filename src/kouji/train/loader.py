"""Batches read ahead in the background: planned indices in, collated tensors out, in order.

Threads, not processes: reading is memory-mapped and collating is numpy and torch, which release
the interpreter lock. A clip that cannot be read is reported by path and left out of its batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kouji.errors import DataError, TrainingError
from kouji.train.recipes import ClipDataset, Recipe
from kouji.train.sampler import Planned

_READ_AHEAD = 3  # batches per worker


class BadClips:
    """Clips that could not be used, listed once each in a text file: path, tab, reason."""

    def __init__(self, file: Path) -> None:
        self.file, self._seen, self._lock = file, set[str](), Lock()

    def __len__(self) -> int:
        return len(self._seen)

    def check(self, count: int, num_clips: int, allowed: float) -> None:
        """Raise TrainingError when `count` (of all processes) is more than a share of the clips."""
        if count > allowed * num_clips:
            raise TrainingError(
                "too many clips cannot be used",
                seen=f"{count} of {num_clips}",
                allowed=f"{allowed:.1%} (max_bad_fraction)",
                cure=f"see {self.file}",
            )

    def report(self, path: str, reason: str) -> None:
        """Note a clip; the same path is written once a run."""
        with self._lock:
            if path in self._seen:
                return
            self._seen.add(path)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(f"{path}\t{' '.join(reason.split())}\n")


@dataclass(frozen=True)
class Loaded:
    """A planned batch and this process's passes of it: (batch, examples), or None if empty."""

    planned: Planned
    passes: list[tuple[dict[str, Any], int] | None]


class Loader:
    """Iterates over loaded batches; `close` stops the background threads."""

    def __init__(
        self,
        recipe: Recipe,
        dataset: ClipDataset,
        plan: Iterator[Planned],
        *,
        seed: int,
        parts: list[int],
        num_parts: int,
        num_workers: int,
        bad_clips: BadClips,
        pin: bool = False,
    ) -> None:
        """parts: which of a batch's `num_parts` shares this process takes, one pass each."""
        self._recipe, self._dataset, self._plan, self._seed = recipe, dataset, plan, seed
        self._parts, self._num_parts, self._bad, self._pin = parts, num_parts, bad_clips, pin
        self._example = getattr(dataset, "example", None)
        self._pool = ThreadPoolExecutor(num_workers, "kouji-load") if num_workers else None
        self._ahead = num_workers * _READ_AHEAD
        self._pending: deque[Future[Loaded]] = deque()

    def __iter__(self) -> Iterator[Loaded]:
        if self._pool is None:
            yield from map(self._load, self._plan)
            return
        for planned in self._plan:
            self._pending.append(self._pool.submit(self._load, planned))
            if len(self._pending) > self._ahead:
                yield self._pending.popleft().result()
        while self._pending:
            yield self._pending.popleft().result()

    def close(self) -> None:
        """Drop what is pending and wait for what is being read."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def paths(self, planned: Planned) -> list[str]:
        """The clips of a batch, by path."""
        return [self._dataset.path(index) for index in planned.indices]

    def _load(self, planned: Planned) -> Loaded:
        return Loaded(planned, [self._load_part(planned, part) for part in self._parts])

    def _load_part(self, planned: Planned, part: int) -> tuple[dict[str, Any], int] | None:
        examples: list[tuple[int, Any]] = []
        for index in planned.shard(part, self._num_parts):
            try:
                examples.append((index, self._read(planned, index)))
            except Exception as error:  # whatever is wrong with one clip must not end a run
                self._bad.report(self._dataset.path(index), f"{type(error).__name__}: {error}")
        batch = self._collate(examples)
        if batch is None or not self._pin:
            return batch
        tensors, count = batch
        return {
            k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in tensors.items()
        }, count

    def _collate(self, examples: list[tuple[int, Any]]) -> tuple[dict[str, Any], int] | None:
        """A batch of all examples, or of those that collate by themselves and are finite."""
        if not examples:
            return None
        try:
            return self._checked([example for _, example in examples]), len(examples)
        except Exception as error:
            fault = error
        good = [pair for pair in examples if self._is_good(*pair)]
        if len(good) == len(examples):
            paths = ", ".join(self._dataset.path(index) for index, _ in examples)
            raise TrainingError("clips cannot be collated together", seen=paths) from fault
        return self._collate(good)

    def _is_good(self, index: int, example: Any) -> bool:
        try:
            self._checked([example])
        except Exception as error:
            self._bad.report(self._dataset.path(index), f"{type(error).__name__}: {error}")
            return False
        return True

    def _checked(self, examples: list[Any]) -> dict[str, Any]:
        batch: dict[str, Any] = dict(self._recipe.collate(examples))
        for name, value in batch.items():
            if not (isinstance(value, Tensor) and value.is_floating_point()):
                continue
            # A sum is not finite as soon as one value is not: one pass, no mask.
            if not torch.isfinite(value.sum(dtype=torch.float64)):
                raise DataError(f"{name} is not finite")
        return batch

    def _read(self, planned: Planned, index: int) -> Any:
        if self._example is None:
            return self._dataset[index]
        where = planned.position
        rng = np.random.default_rng([self._seed, where.epoch, where.batch, index])
        return self._example(index, rng)
