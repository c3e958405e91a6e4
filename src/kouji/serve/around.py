"""Around every request: its id, its line in the log, its count, and an answer if all else fails.

The outermost layer; pure ASGI, knowing nothing of what a request asks for.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kouji.errors import KoujiError
from kouji.serve.logs import log_request
from kouji.serve.metrics import Metrics
from kouji.serve.problems import Problem, problem_of
from kouji.serve.record import ID_HEADER, UNMATCHED, RequestRecord, begin
from kouji.serve.refusing import refuse

CLIENT_LEFT = 499  # nobody reads it; it names the end in logs and figures
_LOST = Problem(500, "server_error", "internal_error", "something went wrong in the server")
_LEAVING = Problem(
    503, "server_error", "overloaded", "the server is shutting down", retry_after=1.0
)
_SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
)
_log = logging.getLogger(__name__)


class Around:
    """Names, watches and writes down every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log_text: bool) -> None:
        self._app, self._metrics, self._log_text = app, metrics, log_text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope["headers"] = _without_escapes(scope["headers"])
        headers = dict(scope["headers"])
        offered = headers.get(ID_HEADER.encode(), b"").decode("latin-1")
        record = begin(offered, scope.get("method", "WEBSOCKET"))
        watch = _Watch(record, receive, send)
        try:
            await self._app(scope, watch.receive, watch.send)
        except Exception as error:
            known = error.__cause__ if watch.has_started else None  # wrapped: it cannot be told
            if isinstance(known, KoujiError):
                record.failed(500, problem_of(known).code)
            else:
                self._report(record, error)
                if not watch.has_started:
                    await refuse(_LOST, scope, receive, watch.send)
                record.failed(500, _LOST.code)
        except asyncio.CancelledError:
            # Only a server that leaves cancels its requests; nobody waits for this task.
            if scope["type"] == "http" and not watch.has_started:
                await refuse(_LEAVING, scope, receive, watch.send, is_read=True)
            record.failed(500 if watch.has_started else 503, _LEAVING.code)
        finally:
            self._end(record, watch, scope["type"])

    def _report(self, record: RequestRecord, error: Exception) -> None:
        """Where it went wrong; the message may hold words of the user, so it is left out."""
        frames = "".join(traceback.format_tb(error.__traceback__))
        what = repr(error) if self._log_text else type(error).__name__
        _log.error("request %s failed: %s\n%s", record.id, what, frames)

    def _end(self, record: RequestRecord, watch: _Watch, kind: str) -> None:
        if kind == "http" and not watch.is_complete and record.result == "finished":
            record.result = "left" if watch.is_gone else "failed"
        has_left = record.result == "left" or record.status == CLIENT_LEFT
        if has_left or (record.status == 0 and watch.is_gone):
            record.status, record.result = CLIENT_LEFT, "left"
        elif record.result == "finished" and 400 <= record.status < 500:
            record.result = "refused"  # whichever way the route said so
        if record.route == UNMATCHED and 200 <= record.status < 400:
            record.route = "page"  # the studio, or the description of the routes
        self._metrics.request_ended(record.route, record.status, record.result)
        log_request(record, with_text=self._log_text)


def _without_escapes(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers without cookies that hold a backslash, which no standard allows there.

    Python takes time by the square of their length to read them (CVE-2024-7592), on every route.
    """
    return [
        (name, b";".join(part for part in value.split(b";") if b"\\" not in part))
        if name == b"cookie" and b"\\" in value
        else (name, value)
        for name, value in headers
    ]


class _Watch:
    """Notes what goes in and out, and puts the id and the common headers on every answer."""

    def __init__(self, record: RequestRecord, receive: Receive, send: Send) -> None:
        self._record, self._receive, self._send = record, receive, send
        self.has_started = self.is_complete = self.is_gone = False

    async def receive(self) -> Message:
        """Pass on; a caller that hangs up is noted."""
        message = await self._receive()
        if message["type"] in ("http.disconnect", "websocket.disconnect"):
            self.is_gone = not self.is_complete
        return message

    async def send(self, message: Message) -> None:
        """Pass on, with our headers; bytes are counted."""
        kind = message["type"]
        if kind in ("http.response.start", "websocket.http.response.start", "websocket.accept"):
            self.has_started = True
            self._record.status = message.get("status", 101)
            message = {**message, "headers": self._headers(message.get("headers", ()))}
        elif kind == "http.response.body":
            self._record.bytes_sent += len(message.get("body", b""))
            self.is_complete = not message.get("more_body", False)
        elif kind == "websocket.close" and not self.has_started:
            self._record.status = 403  # what uvicorn makes of it
        elif kind == "websocket.send":
            self._record.bytes_sent += len(message.get("bytes") or message.get("text") or b"")
        await self._send(message)

    def _headers(self, given: object) -> list[tuple[bytes, bytes]]:
        headers: list[tuple[bytes, bytes]] = list(given)  # type: ignore[call-overload]
        names = {name.lower() for name, _ in headers}
        own = (ID_HEADER.encode(), self._record.id.encode())
        return [*headers, *(item for item in (*_SECURITY, own) if item[0] not in names)]
