"""The door for WebSockets: keys in headers and subprotocols, refusals before the handshake."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest
from live_server import Live
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from wire import Wire

from kouji.config import Settings
from kouji.serve.app import DIALECTS
from kouji.serve.caller import Quotas
from kouji.serve.door import RouteTable
from kouji.serve.keys import KeyRing

PATH = "/v1/audio/speech/stream"
# What answers without asking who is calling, and why it may.
OPEN = {
    "/livez": "a probe",
    "/readyz": "a probe",
    "/control": "refuses everybody",
    "/api/predict/files/{name}": "its name is the secret, as the clients of this dialect expect",
}


def refusal(live: Live, path: str = PATH, **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and error of a handshake that fails."""
    with pytest.raises(InvalidStatus) as refused:
        connect(live.url.replace("http", "ws") + path, **options)
    response = refused.value.response
    return response.status_code, json.loads(response.body)["error"]


def test_a_key_in_a_header_or_a_subprotocol(live: Live) -> None:
    _, key = KeyRing(live.service.settings.home).add("app", ["speak"])
    address = live.url.replace("http", "ws") + PATH
    with connect(address, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
        assert socket.subprotocol is None
    for prefix in ("kouji-key.", "openai-insecure-api-key."):
        offered: Any = ["kouji", prefix + key]
        with connect(address, subprotocols=offered) as socket:
            assert socket.subprotocol == "kouji"  # a browser hangs up without agreement


def test_refusals_come_before_the_handshake(live: Live) -> None:
    assert refusal(live, origin="https://evil.example")[0] == 403
    ring = KeyRing(live.service.settings.home)
    _, key = ring.add("app", ["speak"], Quotas(requests_per_minute=1))
    headers = {"Authorization": f"Bearer {key}"}
    status, error = refusal(live)
    assert (status, error["code"]) == (401, "invalid_api_key")
    assert refusal(live, f"{PATH}?key={key}")[0] == 401
    with connect(live.url.replace("http", "ws") + PATH, additional_headers=headers):
        pass
    assert refusal(live, additional_headers=headers)[0] == 429
    live.service.drain()
    assert refusal(live, additional_headers=headers)[0] == 503


def test_a_full_gate_opens_no_socket(serve: Callable[[Settings], Live], settings: Settings) -> None:
    live = serve(replace(settings, serve_seats=1, serve_queue=1))
    gate = live.service.gate
    seat = live.call(gate.enter("somebody"))
    gate.queue = 0
    assert refusal(live)[0] == 503
    live.server.loop.call_soon_threadsafe(seat.leave)


def test_a_socket_counts_as_a_connection(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, max_connections=1))
    with Wire(live) as holds:
        holds.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert holds.answer().status == 200
        assert refusal(live)[0] == 503


def test_every_route_asks_who_is_calling() -> None:
    """A new route without `caller_of` would be open to everybody."""
    places = [
        place
        for module in DIALECTS
        for route in module.router.routes
        if (place := RouteTable([route]).places[0])
    ]
    assert len(places) > 10
    assert {place.template for place in places if not place.is_closed} == set(OPEN)


def test_after_the_drain_time_the_rest_is_ended(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, drain_seconds=0.2))
    address = live.url.replace("http", "ws") + PATH
    with ExitStack() as held:
        holds = held.enter_context(Wire(live))
        holds.send(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        )
        socket = held.enter_context(connect(address))
        with live.client() as client:
            assert client.get("/livez").status_code == 200  # both are inside by now
        live.server.loop.call_soon_threadsafe(live.server.leave, 15)
        with pytest.raises(ConnectionClosed):
            socket.recv()
        assert holds.answer().status == 503
        assert holds.is_closed()
    assert live.server.should_exit
