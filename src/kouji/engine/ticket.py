"""The way of sound from the engine's thread to whoever asked for it.

A `Channel` holds what nobody has read yet, a `Ticket` is the caller's hold on it. The engine
reads `unread_seconds` and `is_cancelled` without a lock; both are single values, written whole.
Leaving takes no lock either: a ticket that is simply dropped leaves from the garbage
collector, which may run in any thread at any moment.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from kouji.engine.request import EngineChunk, EngineResult, SegmentOutcome
from kouji.errors import KoujiError


class Channel:
    """Chunks of one request on their way; ends once, well or with an error."""

    def __init__(self, sample_rate: int, on_change: Callable[[], None]) -> None:
        """Open an empty channel.

        on_change: called when the reader took something or left; must be reentrant
        """
        self.unread_seconds = 0.0
        self.is_cancelled = False
        self._sample_rate = sample_rate
        self._on_change = on_change
        self._changed = threading.Condition()
        self._chunks: deque[EngineChunk] = deque()
        self._is_closed = False
        self._error: KoujiError | None = None
        self._listener: Callable[[], None] | None = None

    @property
    def is_closed(self) -> bool:
        """The request has ended; unread chunks may remain."""
        return self._is_closed

    def put(self, chunk: EngineChunk) -> None:
        """Hand over a chunk; the engine's side, never blocks."""
        with self._changed:
            assert not self._is_closed, "a chunk after the end of its request"
            self._chunks.append(chunk)
            self.unread_seconds += len(chunk.samples) / self._sample_rate
            self._tell()

    def close(self, error: KoujiError | None = None) -> None:
        """End the request; with an error, what was not read yet is dropped."""
        with self._changed:
            assert not self._is_closed, "a request ended twice"
            self._is_closed, self._error = True, error
            if error is not None:
                self._chunks.clear()
                self.unread_seconds = 0.0
            self._tell()

    def _tell(self) -> None:
        self._changed.notify_all()
        if self._listener is not None:
            self._listener()

    def leave(self) -> None:
        """The reader wants nothing more; takes no lock."""
        self.is_cancelled = True
        self._on_change()

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Call `listener` from the engine's thread at every news."""
        with self._changed:
            self._listener = listener

    def take(self, *, is_waiting: bool, timeout: float | None = None) -> EngineChunk | None:
        """The next chunk; None when there is none (yet, if not waiting).

        raises: the error the request ended with; TimeoutError
        """
        with self._changed:
            if is_waiting and not self._changed.wait_for(self._has_news, timeout):
                raise TimeoutError(f"no sound within {timeout} s")
            if not self._chunks:
                if self._error is not None:
                    raise _twin(self._error)
                return None
            chunk = self._chunks.popleft()
            seconds = len(chunk.samples) / self._sample_rate
            self.unread_seconds = self.unread_seconds - seconds if self._chunks else 0.0
        self._on_change()
        return chunk

    def _has_news(self) -> bool:
        return bool(self._chunks) or self._is_closed


def _twin(error: KoujiError) -> KoujiError:
    """The same error for one raise of its own.

    A raised error holds the frames it passed, with text, voice and weights in them; kept by the
    channel those would live on in a circle until the garbage collector comes.
    """
    twin = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    twin.__cause__ = error.__cause__
    return twin


class Ticket:
    """A request inside the engine, in the hand of its caller; dropping it cancels the request.

    Iterate it (`for` or `async for`) to get `EngineChunk`s in order, or ask for the whole
    `result()`; do one of the two, once. A slow reader stops the rendering of its own request only.
    """

    def __init__(self, request_id: str, channel: Channel, *, keep: object = None) -> None:
        """Take hold of a request; keep: lives as long as the ticket does."""
        self.request_id = request_id
        self._channel, self._keep = channel, keep
        weakref.finalize(self, channel.leave).atexit = False

    @property
    def is_done(self) -> bool:
        """The engine has ended the request: finished, cancelled or failed."""
        return self._channel.is_closed

    def cancel(self) -> None:
        """Give up the request: its seats are free before the next step. Harmless when done."""
        if not self._channel.is_closed:
            self._channel.leave()

    def __iter__(self) -> Iterator[EngineChunk]:
        return self

    def __next__(self) -> EngineChunk:
        """The next chunk, when it is there.

        raises: EngineFailed, DeadlineExceeded, Cancelled
        """
        chunk = self._channel.take(is_waiting=True)
        if chunk is None:
            raise StopIteration
        return chunk

    def result(self, timeout: float | None = None) -> EngineResult:
        """Everything, when it is there.

        timeout: seconds to wait for each chunk; the request goes on after a TimeoutError
        raises:  EngineFailed, DeadlineExceeded, Cancelled, TimeoutError
        """
        gathered = _Gathered()
        while (chunk := self._channel.take(is_waiting=True, timeout=timeout)) is not None:
            gathered.add(chunk)
        return gathered.result()

    def __aiter__(self) -> AsyncIterator[EngineChunk]:
        return self.chunks()

    async def chunks(self) -> AsyncGenerator[EngineChunk, None]:
        """The chunks, woken by the engine; whoever stops listening has cancelled."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(news.set)
            except RuntimeError:  # the loop was closed under its reader
                self._channel.leave()

        self._channel.listen(wake)
        try:
            while True:
                news.clear()
                is_over = self._channel.is_closed  # before taking: no chunk can follow it
                chunk = self._channel.take(is_waiting=False)
                if chunk is not None:
                    yield chunk
                elif is_over:
                    return
                else:
                    await news.wait()
        finally:
            self._channel.listen(None)
            self.cancel()


class _Gathered:
    """Chunks put together again."""

    def __init__(self) -> None:
        self._pieces: list[list[NDArray[np.float32]]] = []
        self._outcomes: list[SegmentOutcome] = []

    def add(self, chunk: EngineChunk) -> None:
        if chunk.segment_index == len(self._pieces):
            self._pieces.append([])
        self._pieces[chunk.segment_index].append(chunk.samples)
        if chunk.outcome is not None:
            self._outcomes.append(chunk.outcome)

    def result(self) -> EngineResult:
        return EngineResult(
            tuple(np.concatenate(pieces) for pieces in self._pieces), tuple(self._outcomes)
        )
