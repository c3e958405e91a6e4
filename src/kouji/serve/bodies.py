"""What comes in, and how long it may take: the size of bodies, slow senders, slow readers.

Stands between the door and the routes, so that every dialect has the same limits. A body that is
too large or too slow ends the request whatever the route makes of it. Pure ASGI.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kouji.config import Settings
from kouji.errors import DeadlineExceeded, TooLarge
from kouji.serve.door import PLACE, Place
from kouji.serve.problems import Problem, problem_of
from kouji.serve.protocol import ABORT
from kouji.serve.record import current
from kouji.serve.refusing import refuse

_MEGABYTE = 1_000_000
# What separates values in JSON, and fields in forms that are not multipart: they are read on the
# event loop, which ten megabytes of commas would keep for seconds.
_SEPARATORS = b",&%"
_MOST_VALUES, _MOST_LISTED = 200_000, 1_000_000  # where a seat is taken; else, as for jobs
_ABORT_SECONDS = 1.0  # until the system has told that a connection is gone
_TOO_MANY = Problem(413, "invalid_request_error", "too_large", "the body holds too many values")
_SLOW = Problem(408, "invalid_request_error", "body_timeout", "the body came too slowly")


class Bodies:
    """Bounds every request: bytes of its body, seconds until it is there, seconds in all."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._most_bytes = int(settings.max_body_mb * _MEGABYTE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if int(declared) > self._most_bytes if declared.isdigit() else True:
            await refuse(self._too_large(declared.decode("latin-1")), scope, receive, send)
            return
        place: Place | None = scope.get(PLACE)
        bounded = _Bounded(receive, send, self._most_bytes, self._settings.body_seconds)
        bounded.values_left = self._most_values(scope, place)
        seconds = self._settings.request_seconds if place and place.takes_seat else None
        is_late = False
        try:
            async with asyncio.timeout(seconds) as deadline:
                await self._app(scope, bounded.receive, bounded.send)
        except TimeoutError:
            if not deadline.expired():
                raise
            is_late = True
        except _Ended:
            pass
        await self._tell(bounded, is_late, scope, receive, send)

    def _most_values(self, scope: Scope, place: Place | None) -> int:
        kind = dict(scope["headers"]).get(b"content-type", b"").lower()
        if kind.startswith(b"multipart/"):
            return self._most_bytes  # sound may hold any bytes, and parts are counted elsewhere
        return _MOST_VALUES if place is not None and place.takes_seat else _MOST_LISTED

    async def _tell(
        self, bounded: _Bounded, is_late: bool, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """What ended the request, if it was one of the limits."""
        if is_late and not bounded.is_complete:
            current().result = "timeout"
            if bounded.has_started:
                # Half an answer cannot be taken back, and a caller that does not read would
                # keep a polite end waiting for ever.
                abort: Callable[[], None] = scope.get(ABORT, _nothing)
                abort()
                with suppress(TimeoutError):
                    await asyncio.wait_for(_hung_up(receive), _ABORT_SECONDS)
                return
            bounded.problem = problem_of(
                DeadlineExceeded(
                    "the request took too long",
                    allowed=f"{self._settings.request_seconds:g} s",
                    cure="send a shorter text, or send it as a job",
                )
            )
        if bounded.problem is not None and not bounded.has_started:
            problem = bounded.problem
            if problem.status == 413 and problem is not _TOO_MANY:
                problem = self._too_large(f"more than {self._most_bytes}")
            await refuse(problem, scope, receive, send, is_read=bounded.is_read)

    def _too_large(self, seen: str) -> Problem:
        return problem_of(
            TooLarge(
                "the body is too large",
                seen=f"{seen[:40]} bytes",
                allowed=f"{self._most_bytes} bytes",
                cure="send less at once",
            )
        )


class _Ended(Exception):
    """Unwinds the app: its request is over."""


class _Bounded:
    """`receive` and `send` of one request within its limits."""

    def __init__(self, receive: Receive, send: Send, most_bytes: int, seconds: float) -> None:
        self._receive, self._send = receive, send
        self._left, self._until = most_bytes, time.monotonic() + seconds
        self.values_left = most_bytes
        self.is_read = self.has_started = self.is_complete = False
        self.problem: Problem | None = None

    async def receive(self) -> Message:
        """The next piece of the body; after it, whatever comes."""
        if self.is_read:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._until - time.monotonic())):
                message = await self._receive()
        except TimeoutError:
            self.problem = _SLOW
            raise _Ended from None
        if message["type"] != "http.request":
            self.is_read = True
            return message
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self.problem = Problem(413, "invalid_request_error", "too_large", "")
            raise _Ended
        body = message.get("body", b"")
        self.values_left -= sum(body.count(sign) for sign in _SEPARATORS)
        if self.values_left < 0:
            self.problem = _TOO_MANY
            raise _Ended
        self.is_read = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass an answer on, unless a limit has decided what the answer is."""
        if self.problem is not None and not self.has_started:
            raise _Ended
        self.has_started = True
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.is_complete = True


async def _hung_up(receive: Receive) -> None:
    """Return when the connection is gone."""
    while (await receive())["type"] == "http.request":
        pass


def _nothing() -> None:
    """Where the server cannot abort a connection."""
