"""The books of one interval between two log lines: outcomes of steps, sums of metrics, time.

Outcomes and metrics stay on the device until someone asks, so that a GPU is not waited for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kouji.train.distributed import World
from kouji.train.precision import Applied
from kouji.train.recipes import metric_sums
from kouji.train.sampler import Planned

_MOST_PENDING = 50  # steps on a GPU after which the losses are looked at all the same


@dataclass(frozen=True)
class Outcome:
    """A step as numbers; `norm` is that of the gradients before clipping."""

    step: int
    loss: float
    norm: float
    is_finite: bool
    planned: Planned


class Ledger:
    """Keeps one interval; `begin` starts the next."""

    def __init__(self) -> None:
        self._pending: list[tuple[int, Tensor, Planned]] = []
        self.begin()

    def begin(self) -> None:
        """Forget what was summed and start the clock."""
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._metrics: dict[str, Any] = {}
        self._audio_seconds, self._waited, self._start = 0.0, 0.0, time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time spent within is spent waiting for data."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - started

    def add_step(self, step: int, applied: Applied, planned: Planned) -> None:
        """Note a step whose outcome still lies on the device."""
        numbers = (applied.loss, applied.norm, applied.is_finite, applied.is_empty)
        self._pending.append((step, torch.stack([n.float() for n in numbers]), planned))
        self._audio_seconds += planned.seconds

    def add_metrics(self, metrics: dict[str, Any], weight: float | Tensor) -> None:
        """Gather weighted sums without asking the device for a number."""
        for name, total, own in metric_sums(metrics, weight):
            sums = self._metrics.setdefault(name, [0.0, 0.0])
            sums[0], sums[1] = sums[0] + total, sums[1] + own

    def add_loss(self, outcome: Outcome) -> None:
        """Count a step that was taken into the means."""
        self._losses.append(outcome.loss)
        if math.isfinite(outcome.norm):  # float16 may overflow while its scale settles
            self._norms.append(outcome.norm)

    def leave_out(self, seconds: float) -> None:
        """Do not count time spent on other things than training."""
        self._start += seconds

    def settle(self, *, is_forced: bool) -> Iterator[Outcome]:
        """Fetch pending outcomes: all of them, or none while they are few and no one presses."""
        if not self._pending or not (is_forced or len(self._pending) >= _MOST_PENDING):
            return
        pending, self._pending = self._pending, []
        rows = torch.stack([numbers for _, numbers, _ in pending]).tolist()
        for (step, _, planned), (loss, norm, is_finite, is_empty) in zip(
            pending, rows, strict=True
        ):
            if not is_empty:
                yield Outcome(step, loss, norm, bool(is_finite), planned)

    def close(self, world: World) -> tuple[dict[str, float], float]:
        """The interval's means over all processes, and the seconds it took; begins the next.

        `input_wait` is the share of these seconds that this process waited for its batches.
        """
        sums = world.gather(
            {name: [float(total), float(weight)] for name, (total, weight) in self._metrics.items()}
        )
        seconds = max(time.monotonic() - self._start, 1e-9)
        values = {"loss": _mean(self._losses), **merge(sums), "grad_norm": _mean(self._norms)}
        values["audio_per_second"] = self._audio_seconds / seconds
        values["input_wait"] = self._waited / seconds
        self.begin()
        return values, seconds


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def merge(parts: list[dict[str, list[float]]]) -> dict[str, float]:
    """(weighted sum, weight) by name to means; a part may lack names others have."""
    names = {name: None for part in parts for name in part}
    means = {}
    for name in names:
        total = sum(part[name][0] for part in parts if name in part)
        weight = sum(part[name][1] for part in parts if name in part)
        means[name] = total / weight if weight else math.nan
    return means
