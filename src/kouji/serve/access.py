"""From a request to its caller: where a key may stand in it, and whose it is.

A key stands in a header, or among the subprotocols of a WebSocket, which browsers cannot give
headers; never in the URL, which proxies and histories write down. What keys there are is
`admission`'s business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from starlette.requests import HTTPConnection

from kouji.serve.caller import Caller
from kouji.serve.service import Service

SUBPROTOCOL = "kouji"  # what a WebSocket agrees on when its client offers it beside a key
_KEY_PROTOCOLS = ("kouji-key.", "openai-insecure-api-key.")
CALLER = "kouji.caller"  # in the scope of a request that was let in

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def service_of(connection: HTTPConnection) -> Service:
    """The service behind this app."""
    service: Service = connection.app.state.service
    return service


async def caller_of(connection: HTTPConnection) -> Caller:
    """Who is asking; a FastAPI dependency for HTTP and WebSocket routes.

    A route with it is closed to whoever has no key: `door` looks before the body is read, and
    counts the request once.
    raises: NotAuthenticated
    """
    caller = connection.scope.get(CALLER)
    if isinstance(caller, Caller):
        return caller
    return service_of(connection).identify(bearer_of(connection))


def speaks(endpoint: Endpoint) -> Endpoint:
    """Mark an endpoint that takes a seat of the gate: it is refused early when there is none."""
    endpoint.takes_seat = True  # type: ignore[attr-defined]
    return endpoint


def bearer_of(connection: HTTPConnection) -> str | None:
    """The key as sent: `Authorization: Bearer ...`, else `X-Api-Key`, else a subprotocol."""
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    if key := connection.headers.get("x-api-key"):
        return key.strip()
    for protocol in connection.scope.get("subprotocols", ()):
        for prefix in _KEY_PROTOCOLS:
            if protocol.startswith(prefix):
                return str(protocol.removeprefix(prefix))
    return None
