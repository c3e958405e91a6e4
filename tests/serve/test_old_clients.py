"""What clients do with a connection: HTTP/1.0, pipelining, waiting for 100, a slash too many."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from live_server import Live
from wire import Wire

SPEECH = {"input": "Hello there.", "voice": "sample", "response_format": "pcm", "seed": 3}
PREDICT = {"data": ["3s极速复刻", None, "Hello there.", ""]}


def all_bytes(live: Live, request: bytes) -> tuple[bytes, bytes]:
    """Head and the rest of all a server says until it hangs up."""
    place = urlsplit(live.url)
    with socket.create_connection((place.hostname, place.port), timeout=60) as connection:
        connection.sendall(request)
        said = b""
        while piece := connection.recv(65536):
            said += piece
    head, _, rest = said.partition(b"\r\n\r\n")
    return head.lower(), rest


def request(method: str, path: str, body: object, version: str, more: str = "") -> bytes:
    content = json.dumps(body).encode()
    head = f"{method} {path} HTTP/{version}\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


@pytest.mark.parametrize("more", ["", "Host: localhost\r\nConnection: keep-alive\r\n"])
def test_http_1_0_is_answered_without_chunks(shared_live: Live, more: str) -> None:
    with shared_live.client() as client:
        sound = client.post("/v1/audio/speech", json=SPEECH).content
    head, rest = all_bytes(shared_live, request("POST", "/v1/audio/speech", SPEECH, "1.0", more))
    assert head.startswith(b"http/1.1 200")
    assert b"transfer-encoding" not in head
    assert b"content-length" not in head
    assert rest == sound


def test_http_1_0_is_told_lengths_that_are_known(shared_live: Live) -> None:
    head, rest = all_bytes(shared_live, request("POST", "/api/predict", PREDICT, "1.0"))
    assert f"content-length: {len(rest)}".encode() in head
    assert json.loads(rest)["data"]
    head, rest = all_bytes(shared_live, request("HEAD", "/livez", None, "1.0"))
    assert head.startswith(b"http/1.1 200")
    assert rest == b""


def test_pipelined_requests_are_answered_in_turn(shared_live: Live) -> None:
    with Wire(shared_live) as wire:
        wire.post("/v1/audio/speech", SPEECH)
        wire.post("/v1/audio/speech", {**SPEECH, "voice": "nobody"})
        wire.post("/v1/audio/speech", SPEECH)
        first, second, third = wire.answer(), wire.answer(), wire.answer()
    assert (first.status, second.status, third.status) == (200, 404, 200)
    assert first.body == third.body
    assert shared_live.service.gate.num_inside == 0


def test_a_client_that_waits_for_100_is_told_to_go_on(shared_live: Live) -> None:
    whole = request(
        "POST", "/v1/audio/speech", SPEECH, "1.1", "Host: localhost\r\nExpect: 100-continue\r\n"
    )
    head, _, body = whole.partition(b"\r\n\r\n")
    with Wire(shared_live) as wire:
        wire.send(head + b"\r\n\r\n")
        assert wire.head()[0] == 100
        wire.send(body)
        assert wire.answer().status == 200


def test_a_slash_too_many_is_led_back(shared_live: Live) -> None:
    with httpx.Client(base_url=shared_live.url, follow_redirects=True, timeout=60) as client:
        answer = client.post("/v1/audio/speech/", json=SPEECH)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/pcm")
        assert client.get("/v1/models/").json() == client.get("/v1/models").json()
