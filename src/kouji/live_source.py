"""Text from an iterator, plain or asynchronous, read piece by piece beside whoever listens.

A plain iterator is read in the thread that asks for its pieces. An asynchronous one is read by
one task: of the loop that was running when it was handed in, else of a loop of its own. Nothing
is read before it is asked for. However reading ends, a generator is closed: its `finally` runs.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Iterator

from kouji.errors import UsageError


class TextSource:
    """The pieces of one text; iterate it once, in one thread, and close it from any."""

    def __init__(self, pieces: Iterable[str] | AsyncIterable[str]) -> None:
        """Take an iterable over.

        raises: UsageError for what gives no pieces of text
        """
        if not isinstance(pieces, (AsyncIterable, Iterable)) or isinstance(pieces, bytes):
            allowed = "str, or an iterable or async iterable of str"
            raise UsageError("this is no text", seen=type(pieces).__name__, allowed=allowed)
        self._is_closed = False
        self._pieces: Iterable[str] | _Pump = (
            _Pump(pieces) if isinstance(pieces, AsyncIterable) else pieces
        )

    def __iter__(self) -> Generator[str, None, None]:
        """Each piece as it comes; ends early where the source was closed."""
        iterator = iter(self._pieces)
        try:
            for piece in iterator:
                if self._is_closed:
                    return
                if not isinstance(piece, str):
                    seen = type(piece).__name__
                    raise UsageError("a piece of text is no text", seen=seen, allowed="str")
                yield piece
        finally:
            if isinstance(iterator, Generator):  # not files: those belong to the caller
                iterator.close()

    def close(self) -> None:
        """No more is asked for; an iterator that waits for text ends when its next piece comes."""
        self._is_closed = True
        if isinstance(self._pieces, _Pump):
            self._pieces.close()

    @property
    def needs_this_loop(self) -> bool:
        """Only the event loop of this very thread can read on: waiting here would be for ever."""
        return isinstance(self._pieces, _Pump) and self._pieces.is_of_running_loop


class _Pump:
    """Pieces of an asynchronous iterable for another thread, one when one is asked for."""

    def __init__(self, pieces: AsyncIterable[str]) -> None:
        self._pieces = pieces
        # Answers: a piece, None for the end, or what the iterable raised.
        self._answers: queue.SimpleQueue[str | BaseException | None] = queue.SimpleQueue()
        self._wanted: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None] | None = None
        self._is_closed, self._lock = False, threading.Lock()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._ready = threading.Event()
            threading.Thread(target=self._run, name="kouji-text-loop", daemon=True).start()
            self._ready.wait()
        else:
            self._start(loop)

    @property
    def is_of_running_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def __iter__(self) -> Iterator[str]:
        while True:
            self._call(self._wanted.set)
            answer = self._answers.get()
            if answer is None:
                return
            if isinstance(answer, BaseException):
                raise answer
            yield answer

    def close(self) -> None:
        with self._lock:
            is_first, self._is_closed = not self._is_closed, True
        if is_first and self._task is not None:
            self._call(self._task.cancel)
            self._answers.put(None)

    def _run(self) -> None:
        async def read() -> None:
            self._start(asyncio.get_running_loop())
            self._ready.set()
            assert self._task is not None
            await asyncio.wait({self._task})

        asyncio.run(read())

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._wanted = loop, asyncio.Event()
        self._task = loop.create_task(self._read())

    async def _read(self) -> None:
        iterator = aiter(self._pieces)
        answer: BaseException | None = None
        try:
            await self._wanted.wait()
            async for piece in iterator:
                self._wanted.clear()
                self._answers.put(piece)
                await self._wanted.wait()
        except asyncio.CancelledError:
            pass  # closed, or its loop ends: no text follows
        except BaseException as error:
            answer = error
        finally:
            if isinstance(iterator, AsyncGenerator):
                await iterator.aclose()
            self._answers.put(answer)

    def _call(self, function: object) -> None:
        """Run something on the loop; one that is closed has no use for it."""
        try:
            self._loop.call_soon_threadsafe(function)  # type: ignore[arg-type]
        except RuntimeError:
            self._answers.put(None)
