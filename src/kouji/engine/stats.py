"""What the engine says about itself, for metrics: counts since the start, and the state now."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kouji.engine.runner import Runner
    from kouji.engine.scheduler import Scheduler

RECENT = 1024  # first-audio times kept for percentiles


@dataclass(frozen=True)
class EngineStats:
    """A snapshot.

    queue_length:   requests waiting for their first seat
    num_requests:   inside, waiting ones included
    rows:           live segments by phase: begin, decode, render, done
    seats:          by cache; seats_used of all caches
    cache_bytes:    of all caches and kept prompts
    ended:          requests by end: finished, cancelled, failed; and refused ones
    batches:        by stage, how many batches there were of each number of rows
    num_splits:     batches that failed and were halved
    first_audio_seconds: of the newest requests, from submission to the first sample
    """

    queue_length: int
    num_requests: int
    rows: dict[str, int]
    seats: dict[str, int]
    seats_used: int
    cache_bytes: int
    ended: dict[str, int]
    batches: dict[str, dict[int, int]]
    num_tokens: int
    num_retries: int
    num_faults: int
    num_splits: int
    prefix_hits: int
    prefix_misses: int
    first_audio_seconds: tuple[float, ...]


@dataclass
class Tally:
    """What is counted as it happens."""

    ended: Counter[str] = field(default_factory=Counter)
    batches: dict[str, Counter[int]] = field(default_factory=dict)
    first_audio_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def batch(self, stage: str, num_rows: int) -> None:
        """Count a batch."""
        self.batches.setdefault(stage, Counter())[num_rows] += 1


def snapshot(tally: Tally, scheduler: Scheduler, runner: Runner | None) -> EngineStats:
    """The figures of this moment; the caller has the scheduler's lock.

    runner: None before the device is open and after it is closed
    """
    return EngineStats(
        queue_length=scheduler.queue_length,
        num_requests=len(scheduler.jobs),
        rows=dict(Counter(row.phase.value for row in scheduler.rows())),
        seats=dict(scheduler.seats),
        seats_used=0 if runner is None else runner.pools.num_used,
        cache_bytes=0 if runner is None else runner.pools.num_bytes,
        ended=dict(tally.ended),
        batches={stage: dict(sizes) for stage, sizes in tally.batches.items()},
        num_tokens=0 if runner is None else runner.attempts.num_tokens,
        num_retries=0 if runner is None else runner.attempts.num_retries,
        num_faults=0 if runner is None else runner.attempts.num_faults,
        num_splits=0 if runner is None else runner.isolation.num_splits,
        prefix_hits=0 if runner is None else runner.pools.prefixes.num_hits,
        prefix_misses=0 if runner is None else runner.pools.prefixes.num_misses,
        first_audio_seconds=tuple(tally.first_audio_seconds),
    )
