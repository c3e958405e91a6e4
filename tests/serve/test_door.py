"""The door: what is refused before a body is read, and that pages from elsewhere stay outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from live_server import Live
from wire import Wire

from kouji.config import Settings
from kouji.errors import UsageError
from kouji.serve.keys import KeyRing
from kouji.serve.origins import is_foreign_page, is_local_name, is_loopback
from kouji.serve.run import listen, reachable

SPEECH = {"input": "Hello.", "voice": "sample", "response_format": "pcm"}


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
     ("LOCALHOST", True), ("0.0.0.0", False), ("::", False), ("", False), ("192.168.1.5", False),
     ("10.0.0.1", False), ("no-such-name.invalid", False)],
)  # fmt: skip
def test_which_addresses_only_this_machine_reaches(host: str, is_local: bool) -> None:
    assert is_loopback(host) is is_local


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("localhost:7860", True), ("LocalHost", True), ("127.0.0.1:1", True), ("[::1]:7860", True),
     ("studio.localhost:7860", True), ("localhost.:7860", True), ("evil.example", False),
     ("localhost.evil.example", False), ("127.0.0.1.evil.example", False), ("", False),
     ("192.168.0.9:7860", False), ("[::1", False), ("127.0.0.1@evil.example", False)],
)  # fmt: skip
def test_which_names_are_of_this_machine(host: str, is_local: bool) -> None:
    assert is_local_name(host) is is_local


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [({"host": "localhost:7860"}, False),
     ({"host": "localhost:7860", "origin": "http://localhost:7860"}, False),
     ({"host": "localhost:7860", "origin": "http://localhost:3000"}, True),
     ({"host": "localhost:7860", "origin": "https://evil.example"}, True),
     ({"host": "localhost:7860", "origin": "null"}, True),
     ({"host": "localhost:7860", "origin": "https://ours.example"}, False),
     ({"host": "localhost:7860", "sec-fetch-site": "cross-site"}, True),
     ({"host": "localhost:7860", "sec-fetch-site": "same-site"}, True),
     ({"host": "localhost:7860", "sec-fetch-site": "same-origin"}, False),
     ({"host": "localhost:7860", "sec-fetch-site": "none"}, False)],
)  # fmt: skip
def test_which_pages_are_foreign(headers: dict[str, str], is_foreign: bool) -> None:
    assert is_foreign_page(headers, ("https://ours.example",)) is is_foreign


def test_a_web_page_cannot_use_the_keyless_server(live: Live, client: httpx.Client) -> None:
    def speak(**headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post("/v1/audio/speech", json=SPEECH, headers=named).status_code

    assert speak() == 200
    assert speak(host="evil.example") == 403  # a name that was pointed here
    assert speak(origin="https://evil.example") == 403
    assert speak(origin=live.url) == 200
    assert speak(sec_fetch_site="cross-site") == 403
    visit = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/openapi.json", headers=visit).status_code == 200
    assert client.get("/metrics", headers=visit).status_code == 403
    assert client.get("/livez", headers={"host": "evil.example"}).status_code == 200
    assert live.service.gate.num_inside == 0
    # A key decides instead, and no page has one.
    _, key = KeyRing(live.service.settings.home).add("app", ["speak"])
    assert speak(host="speech.example", authorization=f"Bearer {key}") == 200


def test_an_origin_the_operator_named_may_call(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, cors_origins="https://ours.example, https://other.example"))
    ours = {"Origin": "https://ours.example"}
    with live.client() as client:
        asked = {**ours, "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
        preflight = client.options("/v1/audio/speech", headers=asked)
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == ours["Origin"]
        answer = client.post("/v1/audio/speech", json=SPEECH, headers=ours)
        assert answer.status_code == 200
        assert answer.headers["Access-Control-Allow-Origin"] == ours["Origin"]
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
        wrong = client.post("/v1/audio/speech", json=SPEECH, headers={"Origin": "https://x.y"})
        assert wrong.status_code == 403
        KeyRing(settings.home).add("app", ["speak"])
        refused = client.post("/v1/audio/speech", json=SPEECH, headers=ours)
        assert refused.status_code == 401  # a page may read why
        assert refused.headers["Access-Control-Allow-Origin"] == ours["Origin"]


def test_an_origin_that_is_none_is_foreign(client: httpx.Client) -> None:
    assert client.get("/v1/models", headers={"Origin": "http://["}).status_code == 403


@pytest.mark.parametrize("path", ["/livez", "/v1/models", "/nothing"])
def test_cookies_no_standard_allows_are_not_read(live: Live, path: str) -> None:
    """Python's reader needs the square of their length, on the event loop and for anybody."""
    cookie = 'a="' + '\\"' * 20_000 + '"; kept=1'
    with Wire(live) as wire:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
        began = time.process_time()
        wire.send(head.encode())
        assert wire.answer().status in (200, 404)
        assert time.process_time() - began < 5.0  # of computing, not of waiting: it was 6 and more


def test_no_page_is_welcome_by_default(client: httpx.Client) -> None:
    asked = {"Origin": "https://ours.example", "Access-Control-Request-Method": "POST"}
    preflight = client.options("/v1/audio/speech", headers=asked)
    assert preflight.status_code in (403, 405)
    assert "Access-Control-Allow-Origin" not in preflight.headers


# --- who may come in at all


def test_bound_wider_it_needs_a_key_or_the_word_insecure(home_dir: Path) -> None:
    wide = Settings(home=home_dir, host="0.0.0.0")
    with pytest.raises(UsageError, match="this machine only"):
        reachable(wide)
    assert reachable(wide, is_insecure=True).consent_policy == "verify"
    assert reachable(replace(wide, consent="attest"), is_insecure=True).consent_policy == "attest"
    assert reachable(replace(wide, host="127.0.0.1")).consent_policy == "attest"
    KeyRing(home_dir).add("app", ["speak"])
    assert reachable(wide).consent_policy == "verify"


def test_a_wide_server_whose_keys_vanish_lets_nobody_in(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    wide = replace(settings, host="0.0.0.0")
    KeyRing(settings.home).add("app", ["speak"])
    live = serve(wide)
    (settings.home / "keys.json").unlink()
    with live.client() as client:
        assert client.post("/v1/audio/speech", json=SPEECH).status_code == 401


def test_a_taken_port_is_told() -> None:
    (first,) = listen("127.0.0.1", 0)
    try:
        with pytest.raises(UsageError, match="already in use"):
            listen("127.0.0.1", first.getsockname()[1])
    finally:
        first.close()
    with pytest.raises(UsageError, match="no address"):
        listen("no-such-name.invalid", 0)


# --- overload


def test_beyond_the_queue_it_is_refused_before_the_body(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, serve_seats=1, serve_queue=1))
    gate = live.service.gate
    seat = live.call(gate.enter("somebody"))
    head = "POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with Wire(live) as waits, Wire(live) as refused, live.client() as client:
        waits.post("/v1/audio/speech", SPEECH)
        live.call(gate_has_waiting(gate, 1))
        refused.send(head.encode())  # and not one byte of the body
        answer = refused.answer()
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "overloaded"
        assert client.get("/readyz").json() == {"status": "full"}
        assert client.get("/livez").status_code == 200
        assert client.get("/openapi.json").status_code == 200
        live.server.loop.call_soon_threadsafe(seat.leave)
        assert waits.answer().status == 200
        assert client.get("/readyz").status_code == 200


async def gate_has_waiting(gate: object, number: int) -> None:
    """Return when so many wait; each look lets the server go on."""
    import asyncio

    while gate.num_waiting < number:  # type: ignore[attr-defined]
        await asyncio.sleep(0)


def test_connections_beyond_the_limit_may_only_ask_probes(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, max_connections=2))
    probe = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
    work = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Wire(live) as first, Wire(live) as second, Wire(live) as third:
        for wire in (first, second, third):
            wire.send(probe)
            assert wire.answer().status == 200
        first.send(work)
        assert first.answer().status == 200
        third.send(work)
        answer = third.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert int(answer.headers["retry-after"]) >= 1
        assert third.is_closed()


def test_far_beyond_the_limit_nothing_is_read(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    from contextlib import ExitStack

    live = serve(replace(settings, max_connections=1))
    with ExitStack() as held:
        wires = [held.enter_context(Wire(live)) for _ in range(1 + 64)]
        wires[-1].send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wires[-1].answer().status == 200
        one_more = held.enter_context(Wire(live))
        assert one_more.answer().status == 503
        assert one_more.is_closed()
