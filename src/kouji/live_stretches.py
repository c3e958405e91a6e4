"""Stretches of sound on their way from the thread that makes them to whoever listens.

The maker waits for room, the listener, a thread or a loop's task, for the next stretch. Knows
no text and no engine.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress

from kouji.errors import Cancelled, UsageError
from kouji.speaking import Stretch


class GrowingStretches:
    """Stretches from the thread that makes them to the listener; both wait for each other."""

    def __init__(self, on_cancel: Callable[[], None], is_deadlock: Callable[[], bool]) -> None:
        """Begin without any.

        on_cancel:   called once, when the listener left
        is_deadlock: waiting in this thread would keep the text from coming
        """
        self._on_cancel, self._is_deadlock = on_cancel, is_deadlock
        self._changed = threading.Condition()
        self._waiting: deque[Stretch] = deque()
        self._heard: Stretch | None = None  # being heard now
        self._is_closed = self._is_cancelled = False
        self._error: BaseException | None = None
        self._listener: Callable[[], None] | None = None

    # --- the side that makes them

    def put(self, stretch: Stretch) -> None:
        """Add one; it is cancelled at once where nobody listens any more."""
        with self._changed:
            self._waiting.append(stretch)
            is_cancelled = self._is_cancelled
            self._tell()
        if is_cancelled:
            stretch.cancel()

    def close(self, error: BaseException | None = None) -> None:
        """No more follow; the error is raised behind those there are."""
        with self._changed:
            self._is_closed, self._error = True, error
            self._tell()

    def wait_for_room(self, most: int) -> bool:
        """Wait until at most so many are not heard to their end; True if that took waiting.

        raises: Cancelled once the listener left
        """
        with self._changed:
            has_waited = self._num_left > most
            self._changed.wait_for(lambda: self._is_cancelled or self._num_left <= most)
            if self._is_cancelled:
                raise Cancelled("the listener left")
        return has_waited

    @property
    def _num_left(self) -> int:
        return len(self._waiting) + (self._heard is not None)

    def _tell(self) -> None:
        self._changed.notify_all()
        if self._listener is not None:
            self._listener()

    # --- the listener's side

    def __iter__(self) -> Iterator[Stretch]:
        while True:
            if self._is_deadlock():
                cure = "iterate the stream with `async for`, or hand it in from another thread"
                raise UsageError("this event loop reads the text, and waits for sound", cure=cure)
            with self._changed:
                self._finish()
                self._changed.wait_for(self._has_news)
                stretch = self._next()
            if stretch is None:
                return
            yield stretch

    async def __aiter__(self) -> AsyncIterator[Stretch]:
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        with self._changed:
            self._listener = lambda: _tell_loop(loop, news)
        try:
            while True:
                news.clear()
                with self._changed:
                    self._finish()
                    has_news = self._has_news()
                    stretch = self._next() if has_news else None
                if stretch is not None:
                    yield stretch
                elif has_news:
                    return
                else:
                    await news.wait()
        finally:
            with self._changed:
                self._listener = None

    def _finish(self) -> None:
        """Whoever asks for the next has heard the one before."""
        if self._heard is not None:
            self._heard = None
            self._changed.notify_all()

    def _has_news(self) -> bool:
        return bool(self._waiting) or self._is_closed or self._is_cancelled

    def _next(self) -> Stretch | None:
        if self._waiting and not self._is_cancelled:
            self._heard = self._waiting.popleft()
            return self._heard
        if self._error is not None and not self._is_cancelled:
            raise self._error
        return None

    def cancel(self) -> None:
        """End what is not done, and the reading of the text; again is harmless."""
        with self._changed:
            is_first, self._is_cancelled = not self._is_cancelled, True
            stretches = [*self._waiting, *([self._heard] if self._heard else [])]
            self._tell()
        for stretch in stretches:
            stretch.cancel()
        if is_first:
            self._on_cancel()


def _tell_loop(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    with suppress(RuntimeError):  # the loop was closed under its listener
        loop.call_soon_threadsafe(news.set)
