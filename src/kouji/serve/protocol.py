"""Connections: how many there may be, and how long and large the head of a request.

uvicorn bounds none of the three by itself. A connection beyond the limit is let to ask one thing,
so that probes are still answered; far beyond it none is. Knows bytes and timers; what follows from
a surplus connection is the door's business.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

SURPLUS = "kouji.surplus"  # in the scope: one of more connections than there may be
ABORT = "kouji.abort"  # in the scope: ends the connection without waiting for its reader
_RESERVE = 64  # connections beyond the limit that still may ask
_MOST_HEAD_BYTES = 65536
_FULL = (
    b'{"error": {"message": "too many connections", "type": "server_error", "param": null, '
    b'"code": "overloaded"}}'
)
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 2\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(_FULL), _FULL)
)


def bounded_protocol(max_connections: int, head_seconds: float) -> type[asyncio.Protocol]:
    """The protocol of a server with these limits.

    head_seconds: until a request's line and headers are there
    """

    class Bounded(_BoundedProtocol):
        most_connections, seconds = max_connections, head_seconds

    return Bounded


class _EndedByClosing(RequestResponseCycle):
    """An answer to a client of HTTP/1.0, which knows no chunks: its end is that of the connection.

    uvicorn would send chunks to it too.
    """

    is_open = False  # its length was not told

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self.is_open = b"content-length" not in names
            if self.is_open:
                self.chunked_encoding = False
        elif self.is_open:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class _BoundedProtocol(HttpToolsProtocol):
    most_connections: int
    seconds: float

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._num_head_bytes, self._is_surplus = 0, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        num_connections = len(self.connections)
        self._is_surplus = num_connections > self.most_connections
        if num_connections > self.most_connections + _RESERVE:
            transport.write(_REFUSAL)
            transport.close()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self.transport.is_closing():
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._num_head_bytes = 0
        scope = cast(dict[str, Any], self.scope)
        scope[ABORT] = self.transport.abort
        if self._is_surplus:
            scope[SURPLUS] = True
        if self._head_timer is None:
            self._await_head()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()
        scope, cycle = cast(dict[str, Any], self.scope), self.cycle
        if scope["http_version"] == "1.0" and cycle is not None and cycle.scope is scope:
            cycle.__class__ = _EndedByClosing

    def handle_websocket_upgrade(self) -> None:
        if self._is_surplus:  # probes need no WebSocket
            self.transport.write(_REFUSAL)
            self.transport.close()
            return
        super().handle_websocket_upgrade()

    def _count_head(self, num_bytes: int) -> None:
        self._num_head_bytes += num_bytes
        if self._num_head_bytes > _MOST_HEAD_BYTES:
            raise httptools.HttpParserError("the head of the request is too large")

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.seconds, self._give_up)

    def _head_is_here(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.abort()
