"""The engine as its callers see it: submit a request, read sound, close.

    with Engine(EngineSettings()) as engine:
        for chunk in engine.submit(request): ...
        result = engine.submit(request).result()
        async for chunk in engine.generate(request): ...

Safe to use from any number of threads and event loops. What happens inside is told in
docs/engine.md; the thread is in `worker`.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from types import TracebackType

from kouji.engine.decoding import StepDevice, check_room
from kouji.engine.request import EngineChunk, EngineRequest, check_request
from kouji.engine.rows import LiveJob
from kouji.engine.runner import Runner
from kouji.engine.settings import EngineSettings
from kouji.engine.stats import EngineStats
from kouji.engine.ticket import Channel, Ticket
from kouji.engine.trace import Trace
from kouji.engine.worker import Worker

__all__ = ["Engine", "EngineSettings", "EngineStats", "Ticket"]


class Engine:
    """Speaks requests of any family on one device."""

    def __init__(
        self,
        settings: EngineSettings | None = None,
        *,
        device: StepDevice | None = None,
        trace: Trace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; the thread, the device and the caches open with the first request.

        device: where it computes; None opens the one the settings name
        trace:  takes down what happens, for pictures
        clock:  seconds that never go back
        """
        settings = settings or EngineSettings()
        self.settings, self.trace, self._clock = settings, trace, clock

        def make_runner() -> Runner:
            return Runner(settings, device or _open_device(settings.device), clock)

        self._worker = Worker(settings, make_runner, clock, trace)
        # An engine nobody holds any more ends its thread, also when the process ends.
        weakref.finalize(self, self._worker.close)

    @property
    def is_healthy(self) -> bool:
        """The device works; False is final."""
        return self._worker.fault is None

    @property
    def is_closed(self) -> bool:
        """It takes no more requests, because it was closed."""
        return self._worker.is_closing

    @property
    def fault(self) -> str | None:
        """Why the engine is not healthy."""
        return self._worker.fault

    def submit(self, request: EngineRequest, *, on_end: Callable[[], None] | None = None) -> Ticket:
        """Hand in a request; returns at once.

        on_end: called once, on the engine's thread, when nothing more is computed for the
                request, however it ended and whether or not it was read; must not raise
        raises: UsageError, or the family's own error, for a request that cannot be served;
                EngineBusy if the queue is full; EngineFailed if the engine is closed or down;
                then `on_end` is not called
        """
        check_request(request)
        self._check_prompts(request)
        renderer = request.model.renderer
        channel = Channel(renderer.sample_rate, self._worker.wake)
        job = LiveJob(
            request,
            channel,
            arrived=self._clock(),
            buffer_seconds=self.settings.buffer_seconds,
            on_end=on_end,
            wake=self._worker.wake,
        )
        self._worker.add(job)
        return Ticket(request.id, channel, keep=self)

    async def generate(self, request: EngineRequest) -> AsyncIterator[EngineChunk]:
        """Hand in a request and read it; leaving the loop, or cancelling the task, cancels it.

        raises: what `submit` raises, and EngineFailed, DeadlineExceeded, Cancelled
        """
        async with aclosing(self.submit(request).chunks()) as chunks:
            async for chunk in chunks:
                yield chunk

    def _check_prompts(self, request: EngineRequest) -> None:
        """Make each prompt once, and drop it: what cannot be spoken is refused before the queue."""
        decoder = request.model.decoder
        if decoder is not None:
            for segment in request.segments:
                check_room(decoder.prompt(segment, request.voice), self.settings.max_positions)

    def stats(self) -> EngineStats:
        """Counts since the start, and the state now."""
        return self._worker.stats()

    def check_integrity(self) -> None:
        """AssertionError if a seat or a row was lost; for tests, while nothing is computed."""
        self._worker.check_integrity()

    def close(self) -> None:
        """Cancel what is under way and end the thread; again is harmless."""
        self._worker.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _open_device(name: str) -> StepDevice:
    from kouji.engine.device import open_device

    return open_device(name)
