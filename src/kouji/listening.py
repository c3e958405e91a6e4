"""One sound on its way through the engine: cut into windows, and what was heard of each in order.

Few windows of a sound are under way at once, so hours of it need no more memory than seconds.
Knows windows, tickets and how they add up; where a sound comes from and which networks hear it is
`kouji.classifying`'s.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from kouji.classification import Classification, HeardWindow
from kouji.errors import Cancelled, DeadlineExceeded, EngineBusy, TooLarge
from kouji.models.classifier.windows import Window, WindowMaker
from kouji.types import Samples

if TYPE_CHECKING:
    from kouji.engine.engine import Engine
    from kouji.engine.ticket import Ticket
    from kouji.models.classifier.config import ClassifierConfig
    from kouji.models.stages import SpeechModel

Windows = Generator[Window, None, None]

WINDOWS_A_REQUEST = 8
WINDOWS_IN_FLIGHT = 32  # of one sound, so that a long one needs no memory
SILENT = "nothing is louder than silence in it, so its classes mean little"


@dataclass(frozen=True)
class HearOptions:
    """What a caller may ask for.

    hop_seconds:      from the start of a window to that of the next; None is half a window
    client:           whose request it is; clients take turns
    deadline_seconds: for the whole sound; None waits for ever
    max_seconds:      longer sounds are refused
    max_windows:      sounds of more windows are refused
    array_rate:       Hz of a source that is a plain array
    """

    hop_seconds: float | None = None
    client: str = ""
    deadline_seconds: float | None = None
    max_seconds: float = math.inf
    max_windows: int | None = None
    array_rate: int | None = None


class Hearer(Protocol):
    """What a sound needs of the classifier that hears it."""

    config: ClassifierConfig
    engine: Engine
    stages: SpeechModel

    def hop_samples(self, hop_seconds: float | None) -> int:
        """A hop in samples; UsageError for a wrong one."""


@dataclass
class _Flight:
    """A request of several windows that the engine works on."""

    windows: list[Window]
    ticket: Ticket


class _Whole:
    """What the windows of a sound add up to; each counts as much as there is to hear in it."""

    def __init__(self, num_classes: int) -> None:
        self.num_sounding = 0
        self._weighted, self._plain = np.zeros(num_classes), np.zeros(num_classes)

    def add(self, window: Window, probabilities: NDArray[np.float32]) -> None:
        """Count a window."""
        self.num_sounding += window.num_sounding
        self._weighted += window.num_sounding * probabilities.astype(np.float64)
        self._plain += probabilities

    def mean(self) -> NDArray[np.float32]:
        """(classes,) of the whole, summing to 1; of a silent sound every window counts alike."""
        total = self._weighted if self.num_sounding else self._plain
        return np.asarray(total / total.sum(), np.float32)


class Listening:
    """One sound being heard: iterate it (`for` or `async for`) for its windows, in order.

    Dropping it, or `cancel`, gives up what is under way.
    """

    def __init__(
        self,
        classifier: Hearer,
        blocks: Iterator[Samples],
        options: HearOptions,
        windows_in_flight: int = WINDOWS_IN_FLIGHT,
    ) -> None:
        """Prepare; `blocks` are (samples,) at the classifier's rate."""
        self._classifier, self._options = classifier, options
        config = classifier.config
        hop = classifier.hop_samples(options.hop_seconds)
        self._rate = config.sample_rate
        self._maker = WindowMaker(config.window_samples, hop, config.sample_rate)
        self._windows = _cut(self._maker, blocks)
        self._in_flight = windows_in_flight
        self._flights: deque[_Flight] = deque()
        self._whole = _Whole(len(config.labels))
        self._num_cut = 0
        self._started: float | None = None
        self._has_ended = self._is_cancelled = False
        self._pumping = threading.Lock()

    @property
    def seconds(self) -> float:
        """Of the sound, as far as it was read."""
        return self._maker.num_samples / self._rate

    def begin(self) -> None:
        """Read on and hand windows to the engine, as far as may be under way at once."""
        self._pump()

    def __iter__(self) -> Iterator[HeardWindow]:
        try:
            while self._pump():
                flight = self._flights[0]
                for window, chunk in zip(flight.windows, flight.ticket, strict=False):
                    yield self._heard(window, chunk.samples)
                self._flights.popleft()
        finally:
            self.cancel()

    async def __aiter__(self) -> AsyncIterator[HeardWindow]:
        try:
            while await asyncio.to_thread(self._pump):
                flight = self._flights[0]
                windows = iter(flight.windows)
                async with aclosing(flight.ticket.chunks()) as chunks:
                    async for chunk in chunks:
                        yield self._heard(next(windows), chunk.samples)
                self._flights.popleft()
        finally:
            self.cancel()

    def classification(self) -> Classification:
        """Hear it to its end."""
        return self.summary(tuple(self))

    def summary(self, windows: tuple[HeardWindow, ...] = ()) -> Classification:
        """The whole, once every window was heard; `windows` are those to be told with it."""
        warnings = () if self._whole.num_sounding else (SILENT,)
        labels = self._classifier.config.labels
        return Classification(labels, self._whole.mean(), windows, self.seconds, warnings)

    def cancel(self) -> None:
        """Give up; harmless when done, and from any thread."""
        self._is_cancelled = True
        for flight in list(self._flights):
            flight.ticket.cancel()
        if self._pumping.acquire(blocking=False):  # else whoever reads on closes the source
            try:
                self._windows.close()
            finally:
                self._pumping.release()

    def _pump(self) -> bool:
        """Keep the engine supplied; False when every window was handed in and heard."""
        with self._pumping:
            self._check_wanted()
            while not self._has_ended and self._num_in_flight < self._in_flight:
                if group := self._next_group():
                    self._hand_in(group)
                self._check_wanted()
        return bool(self._flights)

    def _check_wanted(self) -> None:
        if self._is_cancelled:
            self._windows.close()
            raise Cancelled("the sound was given up", cure="send it again")

    @property
    def _num_in_flight(self) -> int:
        return sum(len(flight.windows) for flight in self._flights)

    def _next_group(self) -> list[Window]:
        group: list[Window] = []
        most = min(WINDOWS_A_REQUEST, self._in_flight)
        while len(group) < most and (window := next(self._windows, None)) is not None:
            group.append(window)
        self._num_cut += len(group)
        self._has_ended = len(group) < most
        limit = self._options.max_windows
        if limit is not None and self._num_cut > limit:
            raise TooLarge(
                "the sound has too many windows",
                seen=f"more than {limit}",
                allowed=f"up to {limit}",
                cure="cut the sound, or ask for a longer hop",
            )
        return group

    def _hand_in(self, group: list[Window]) -> None:
        """Submit windows, one a segment: small pieces leave room for others in between."""
        from kouji.engine.request import EngineRequest

        request = EngineRequest(
            self._classifier.stages,
            tuple(window.samples[None] for window in group),
            client=self._options.client,
            deadline_seconds=self._seconds_left(),
            is_sound=False,
        )
        try:
            ticket = self._classifier.engine.submit(request)
        except EngineBusy:
            if not self._flights:
                raise
            # The engine is full of others' work: wait for our own place in it.
            self._windows = _chained(group, self._windows)
            self._num_cut -= len(group)
            self._has_ended = False
            self._in_flight = min(self._in_flight, self._num_in_flight)
            return
        self._flights.append(_Flight(group, ticket))
        if self._is_cancelled:
            ticket.cancel()

    def _seconds_left(self) -> float | None:
        allowed, now = self._options.deadline_seconds, time.monotonic()
        self._started = now if self._started is None else self._started
        if allowed is None:
            return None
        left = allowed - (now - self._started)
        if allowed > 0 and left <= 0:
            cure = "allow more time, or send a shorter sound"
            raise DeadlineExceeded("the sound took too long to hear", cure=cure)
        return left

    def _heard(self, window: Window, probabilities: NDArray[np.float32]) -> HeardWindow:
        self._whole.add(window, probabilities)
        return HeardWindow(window.start / self._rate, window.end / self._rate, probabilities)


def _cut(maker: WindowMaker, blocks: Iterable[Samples]) -> Windows:
    for block in blocks:
        yield from maker.push(block)
    yield from maker.close()


def _chained(group: list[Window], rest: Windows) -> Windows:
    """Windows that were cut already before those to come."""
    try:
        yield from group
        yield from rest
    finally:
        rest.close()
