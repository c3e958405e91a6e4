"""The operator's limits, each at its edge and one beyond: text, body, time, head."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest
from live_server import Live
from wire import Wire

from kouji.config import Settings

BODY_BYTES = 2000
SPEECH = {"input": "Hello.", "voice": "sample", "response_format": "pcm"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, max_text_characters=20, max_body_mb=BODY_BYTES / 1e6, body_seconds=0.5)


def padded(num_bytes: int) -> bytes:
    """A body of a valid request that is so long."""
    content = json.dumps(SPEECH).encode()
    return content + b" " * (num_bytes - len(content))


@pytest.mark.parametrize("letter", ["a", "语"])
def test_characters_of_a_text(client: httpx.Client, letter: str) -> None:
    def status(num_characters: int) -> int:
        body = {**SPEECH, "input": letter * (num_characters - 1) + "."}
        return client.post("/v1/audio/speech", json=body).status_code

    assert [status(19), status(20), status(21)] == [200, 200, 413]


def test_bytes_of_a_body(live: Live, client: httpx.Client) -> None:
    def declared(num_bytes: int) -> httpx.Response:
        return client.post("/v1/audio/speech", content=padded(num_bytes),
                           headers={"content-type": "application/json"})  # fmt: skip

    def chunked(num_bytes: int) -> httpx.Response:
        content = padded(num_bytes)
        pieces = (content[start : start + 300] for start in range(0, num_bytes, 300))
        return client.post("/v1/audio/speech", content=pieces,
                           headers={"content-type": "application/json"})  # fmt: skip

    for send in (declared, chunked):
        answers = [send(BODY_BYTES + extra) for extra in (-1, 0, 1)]
        assert [answer.status_code for answer in answers] == [200, 200, 413], send
        assert answers[2].json()["error"]["code"] == "too_large"
        assert answers[2].headers["x-request-id"]
    assert live.service.gate.num_inside == 0


def test_a_form_has_the_same_limit(client: httpx.Client) -> None:
    files = {"ref_audio": ("a.wav", b"\0" * BODY_BYTES, "audio/wav")}
    answer = client.post("/v1/audio/speech", data={"input": "Hi"}, files=files)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/json", b'{"a":[' + b"0," * 200_001 + b"0]}"),
     ("application/x-www-form-urlencoded", b"input=" + b"%41" * 200_001),
     ("application/x-www-form-urlencoded", b"&" * 200_001)],
)  # fmt: skip
def test_values_of_a_body(
    serve: Callable[[Settings], Live], settings: Settings, kind: str, body: bytes
) -> None:
    """A body of commas keeps the event loop for seconds, so it is not read to its end."""
    live = serve(replace(settings, max_body_mb=10.0))
    with live.client(headers={"Content-Type": kind}) as client:
        for path in ("/v1/audio/speech", "/tts"):
            answer = client.post(path, content=body)
            assert answer.status_code == 413, answer.text
            assert "too many values" in answer.text
            assert "too many values" not in client.post(path, content=body[:-10]).text


def test_a_huge_body_is_refused_by_what_it_declares(live: Live) -> None:
    with Wire(live) as wire:
        wire.send(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "1, 2"])
def test_a_length_that_is_none(live: Live, length: str) -> None:
    with Wire(live) as wire:
        wire.send(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: %s\r\n\r\n" % length.encode()
        )
        assert wire.answer().status == 400


def test_a_body_that_does_not_come_is_given_up(live: Live) -> None:
    head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    with Wire(live) as wire:
        wire.send(head + b'{"input"')
        answer = wire.answer()
        assert answer.status == 408
        assert answer.json()["error"]["code"] == "body_timeout"
        assert wire.is_closed()
    assert live.service.gate.num_inside == 0


@pytest.mark.parametrize(
    "begin", [b"", b"POST /v1/aud", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "]
)
def test_a_head_that_does_not_come_is_given_up(live: Live, begin: bytes) -> None:
    with Wire(live) as wire:
        wire.send(begin)
        assert wire.is_closed()


def test_the_second_head_on_a_connection_has_no_longer(live: Live) -> None:
    with Wire(live) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert wire.answer().status == 200
        wire.send(b"GET /livez HTTP/1.1\r\nHo")
        assert wire.is_closed()


def test_an_endless_head_is_refused(live: Live) -> None:
    with Wire(live) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n")
        try:
            for _ in range(80):
                wire.send(b"X-Long: " + b"x" * 1024 + b"\r\n")
        except ConnectionError:
            return
        status, _ = wire.head()
        assert status == 400


def test_a_request_that_waits_too_long_is_ended(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, serve_seats=1, request_seconds=0.3))
    seat = live.call(live.service.gate.enter("somebody"))
    with live.client() as client:
        answer = client.post("/v1/audio/speech", json=SPEECH)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "deadline_exceeded"
        assert int(answer.headers["Retry-After"]) >= 1
        assert live.service.gate.num_waiting == 0
        live.server.loop.call_soon_threadsafe(seat.leave)
        live.call(live.service.gate.empty())
        live.call(live.service.gate.enter("somebody else")).leave()


def test_a_reader_that_stands_still_is_cut_off(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    """Its seat is free again, though it never hangs up."""
    live = serve(replace(settings, max_text_characters=4000, max_body_mb=1, request_seconds=3))
    with Wire(live, receive_buffer=4096) as wire:
        wire.post("/v1/audio/speech", {**SPEECH, "input": "So it goes on and on. " * 180})
        assert wire.head()[0] == 200
        live.call(live.service.gate.empty())
        with suppress(ConnectionError):
            while wire.socket.recv(1 << 20):
                pass
    with live.client() as client:  # the engine ends requests between its steps: let it make some
        assert client.post("/v1/audio/speech", json=SPEECH).status_code == 200
    assert live.service.models.get().engine.stats().num_requests == 0
