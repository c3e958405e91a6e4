"""A refusal sent from around the app, where no route has been reached: to HTTP or a WebSocket."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from kouji.serve.problems import Problem
from kouji.serve.record import current
from kouji.serve.shapes import shape

# What a caller is still sending is read for so long and thrown away: closing at once would make
# its system forget the answer.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1 << 20
_CLOSING = (408, 413, 503)  # what follows on these connections is not worth waiting for


async def refuse(
    problem: Problem, scope: Scope, receive: Receive, send: Send, *, is_read: bool = False
) -> None:
    """Send the problem, in the shape of the dialect that was spoken.

    is_read: nothing of the body is still to come
    """
    status, facts = shape(scope, problem)
    current().failed(status, problem.code)
    body = json.dumps(facts, ensure_ascii=False).encode()
    is_closing = problem.status in _CLOSING or _is_coming(scope)
    headers = {
        **problem.headers(),
        "content-type": "application/json",
        "content-length": str(len(body)),
        **({"connection": "close"} if is_closing else {}),
    }
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    kind = "http" if scope["type"] == "http" else "websocket.http"
    if kind == "websocket.http":
        raw = [(name, value) for name, value in raw if name != b"connection"]
    await send({"type": f"{kind}.response.start", "status": status, "headers": raw})
    if is_closing and kind == "http" and not is_read and _is_coming(scope):
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = b""
        with suppress(TimeoutError):
            await asyncio.wait_for(_pass_over(receive), _LINGER_SECONDS)
    await send({"type": f"{kind}.response.body", "body": body, "more_body": False})


def _is_coming(scope: Scope) -> bool:
    """There is a body, and it is not so short that it is here already."""
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"")
    if length:
        return length.isdigit() and int(length) > 65536
    return b"transfer-encoding" in headers


async def _pass_over(receive: Receive) -> None:
    num_bytes = 0
    while num_bytes < _LINGER_BYTES:
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return
