"""From a request to its caller: the bearer key, looked up and counted.

Knows where a key stands in a request; what keys there are is `keys`' business.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection

from kouji.serve.caller import Caller
from kouji.serve.service import Service


def service_of(connection: HTTPConnection) -> Service:
    """The service behind this app."""
    service: Service = connection.app.state.service
    return service


async def caller_of(connection: HTTPConnection) -> Caller:
    """Who is asking; a FastAPI dependency for HTTP and WebSocket routes.

    raises: NotAuthenticated, QuotaExceeded
    """
    return service_of(connection).identify(bearer_of(connection))


def bearer_of(connection: HTTPConnection) -> str | None:
    """The key as sent: `Authorization: Bearer ...`, else `X-Api-Key`."""
    kind, _, token = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and token.strip():
        return token.strip()
    return connection.headers.get("x-api-key")
