"""The door: who may come in, decided before the body of a request is read.

In this order: room for the connection, the server is not leaving, the page or name behind the
request, the key, its quota, a seat. A refusal costs a few comparisons, so that those inside keep
their speed. Pure ASGI; what a request asks for is its route's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kouji.errors import KoujiError, NotAllowed, Overloaded
from kouji.serve.access import CALLER, SUBPROTOCOL, bearer_of, caller_of
from kouji.serve.flights import Flight, Flights
from kouji.serve.origins import is_foreign_page, is_local_name, is_loopback, listed
from kouji.serve.problems import problem_of
from kouji.serve.protocol import SURPLUS
from kouji.serve.record import current
from kouji.serve.refusing import refuse
from kouji.serve.service import Service

PLACE = "kouji.place"  # in the scope of a request: its Place, or None
PROBES = ("/livez", "/readyz")
_CROWDED_SECONDS = 2.0
_EVENTS = b"text/event-stream"


class Place(NamedTuple):
    """The route a request goes to.

    template:   its path, such as /v1/jobs/{job_id}
    is_closed:  it wants to know the caller
    takes_seat: it speaks
    """

    template: str
    is_closed: bool
    takes_seat: bool


class RouteTable:
    """The routes of the dialects by path; what is mounted beside them is not in it."""

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [
            (route, route.path_regex.match, _place(route))
            for route in routes
            if isinstance(route, APIRoute | WebSocketRoute)
        ]

    @property
    def places(self) -> list[Place]:
        """All of them."""
        return [place for _, _, place in self._routes]

    def find(self, scope: Scope) -> Place | None:
        """The place of a request; None for what is no route of ours."""
        is_socket = scope["type"] == "websocket"
        for route, matches, place in self._routes:
            if is_socket == isinstance(route, APIRoute) or not matches(scope["path"]):
                continue
            if isinstance(route, Route) and scope["method"] not in (route.methods or ()):
                continue
            return place
        return None


def _place(route: APIRoute | WebSocketRoute) -> Place:
    wants_caller = _depends_on(getattr(route, "dependant", None), caller_of)
    return Place(route.path, wants_caller, hasattr(route.endpoint, "takes_seat"))


class Door:
    """Lets requests in, or refuses them."""

    def __init__(
        self, app: ASGIApp, service: Service, routes: RouteTable, flights: Flights
    ) -> None:
        self._app, self._service, self._routes, self._flights = app, service, routes, flights
        settings = service.settings
        self._origins = listed(settings.cors_origins)
        self._is_local = is_loopback(settings.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope[PLACE] = place = self._routes.find(scope)
        if place is not None:
            current().route = place.template
        try:
            if scope["path"] not in PROBES:
                self._admit(scope, place)
        except KoujiError as error:
            await refuse(problem_of(error), scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, _agreeing(scope, send))
        elif place is None or scope["path"] in PROBES:
            # What is mounted beside our routes keeps connections open for as long as a page is.
            await self._app(scope, receive, send)
        else:
            with self._flights.one() as flight:
                await self._app(scope, receive, _watching(flight, place, send))

    def _admit(self, scope: Scope, place: Place | None) -> None:
        """Note the caller in the scope, or raise what is to be answered."""
        connection = HTTPConnection(scope)
        if scope.get(SURPLUS):
            raise Overloaded("too many connections", retry_after=_CROWDED_SECONDS)
        if self._service.is_draining:
            wait = self._service.settings.drain_seconds
            raise Overloaded("the server is shutting down", retry_after=max(1.0, wait))
        admission = self._service.admission
        if not admission.needs_key:
            self._check_name(connection)
        if not admission.needs_key or place is None:
            # What is mounted beside our routes knows its callers by a cookie, which a browser
            # also sends for other pages of this machine, and gets in answer to their forms.
            self._check_page(connection, place)
        if place is None or not place.is_closed:
            return
        caller = self._service.identify(bearer_of(connection))
        current().key_id = caller.id
        if place.takes_seat:
            self._service.gate.check(caller.id)
        admission.quotas.count_request(caller)  # last: what is refused for us is not counted
        scope[CALLER] = caller

    def _check_name(self, connection: HTTPConnection) -> None:
        """Where nobody needs a key, no name that was pointed here counts."""
        headers = connection.headers
        if self._is_local and not is_local_name(headers.get("host", "localhost")):
            raise NotAllowed(
                "this server answers to local names only while it has no keys",
                seen=headers["host"][:100],
                allowed="localhost, 127.0.0.1",
                cure="ask the operator for a key",
            )

    def _check_page(self, connection: HTTPConnection, place: Place | None) -> None:
        """Where no key is sent along, only the server's own pages and programs come in."""
        headers = connection.headers
        is_visit = (
            headers.get("sec-fetch-mode") == "navigate"
            and connection.scope.get("method") == "GET"
            and (place is None or not place.is_closed)
        )
        if not is_visit and is_foreign_page(headers, self._origins):
            raise NotAllowed(
                "a page from elsewhere may not use this server",
                seen=headers.get("origin", "another site")[:100],
                cure="let the operator name its origin, or use a key",
            )


def _depends_on(dependant: Any, dependency: object) -> bool:
    """A route, or what it depends on, asks for this."""
    if dependant is None:
        return False
    return any(
        inner.call is dependency or _depends_on(inner, dependency)
        for inner in dependant.dependencies
    )


def _watching(flight: Flight, place: Place, send: Send) -> Send:
    """Stop waiting for an answer that only tells news for as long as somebody listens."""

    async def watching(message: Message) -> None:
        headers = dict(message.get("headers", ()))
        is_news = headers.get(b"content-type", b"").startswith(_EVENTS)
        if is_news and not place.takes_seat:
            flight.end()
        await send(message)

    return watching


def _agreeing(scope: Scope, send: Send) -> Send:
    """Agree on our subprotocol where it was offered: browsers hang up otherwise."""
    if SUBPROTOCOL not in scope.get("subprotocols", ()):
        return send

    async def agreeing(message: Message) -> None:
        if message["type"] == "websocket.accept" and not message.get("subprotocol"):
            message = {**message, "subprotocol": SUBPROTOCOL}
        await send(message)

    return agreeing
