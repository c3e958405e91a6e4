"""What the engine did when, for pictures and for finding out why a request waited."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple


class TraceEvent(NamedTuple):
    """One row in one batch, or a moment of a request.

    start, end: seconds on the engine's clock; equal for a moment
    stage:      begin, step, acoustic, vocode; arrive, first_audio, finished, cancelled, failed
    segment:    -1 for moments of a whole request
    batch:      rows that were computed together; 0 for moments
    """

    start: float
    end: float
    stage: str
    request: str
    segment: int
    batch: int


@dataclass
class Trace:
    """The newest events; memory is bounded."""

    events: deque[TraceEvent]

    @classmethod
    def of(cls, max_events: int = 100_000) -> Trace:
        """An empty trace."""
        return cls(deque(maxlen=max_events))

    def moment(self, time: float, stage: str, request: str) -> None:
        """Note that something happened to a request."""
        self.events.append(TraceEvent(time, time, stage, request, -1, 0))
