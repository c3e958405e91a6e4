"""`WS /v1/audio/speech/stream` with a client of its own: order, cancelling, leaving, errors."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from live_server import Live
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from kouji.config import Settings
from kouji.serve.keys import KeyRing

LONG = "This is a rather long sentence with many words in it, number {}. "


class Talk:
    """A client."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    def send(self, kind: str, **facts: Any) -> None:
        self.connection.send(json.dumps({"type": kind, **facts}))

    def receive(self) -> dict[str, Any] | bytes:
        message = self.connection.recv(timeout=60)
        return message if isinstance(message, bytes) else json.loads(message)

    def until(self, kind: str) -> tuple[list[dict[str, Any]], bytes]:
        """Events up to one of this kind, and the sound among them."""
        events, sound = [], b""
        while True:
            message = self.receive()
            if isinstance(message, bytes):
                sound += message
                continue
            events.append(message)
            if message["type"] == kind:
                return events, sound
            assert message["type"] != "error", message


@contextmanager
def talking(live: Live, **options: Any) -> Iterator[Talk]:
    url = live.url.replace("http", "ws") + "/v1/audio/speech/stream"
    with connect(url, **options) as connection:
        yield Talk(connection)


@pytest.fixture
def talk(shared_live: Live) -> Iterator[Talk]:
    """Connected to the shared server, which must be empty afterwards."""
    with talking(shared_live) as talk:
        yield talk
    assert_empty(shared_live)


def assert_empty(live: Live) -> None:
    """Nobody is inside; asked for by a request that needs every seat to be given back."""
    with live.client() as client:
        client.post("/v1/audio/speech", json={"input": "Hi."}).raise_for_status()
    engine = live.service.models.get().engine
    assert live.service.gate.num_inside == 0
    engine.check_integrity()


def test_a_text_in_pieces_becomes_sound(talk: Talk, shared_live: Live) -> None:
    for piece in ("Hel", "lo the", "re."):
        talk.send("text", text=piece)
    talk.send("commit")
    events, sound = talk.until("done")
    assert [event["type"] for event in events] == ["started", "done"]
    assert events[0]["sample_rate"] == 24_000
    assert events[0]["ai_generated"] is True
    assert events[1]["duration"] == pytest.approx(len(sound) / 2 / 24_000, abs=1e-3)
    assert events[1]["usage"]["input_tokens"] == len("Hello there.")
    with shared_live.client() as client:
        body = {"input": "Hello there.", "response_format": "pcm"}
        plain = client.post("/v1/audio/speech", json=body).content
    assert len(plain) == len(sound)
    difference = np.frombuffer(plain, "<i2").astype(int) - np.frombuffer(sound, "<i2")
    assert np.abs(difference).max() <= 1


def test_a_sentence_is_spoken_before_the_text_is_whole(talk: Talk) -> None:
    talk.send("text", text="The first one is complete. And the sec")
    (started,), _ = talk.until("started")
    assert isinstance(talk.receive(), bytes)
    talk.send("text", text="ond is not")
    talk.send("flush")
    talk.send("commit")
    events, _ = talk.until("done")
    assert events[-1]["text"] == started["text"] == 1


def test_texts_are_spoken_in_order_with_their_words(talk: Talk) -> None:
    talk.send("session", timestamp_granularities=["word"], response_format="wav", audio="base64")
    assert talk.receive()["type"] == "session"  # type: ignore[index]
    talk.send("text", text="One two. Three four! Fi")
    talk.send("text", text="ve six.")
    talk.send("commit")
    talk.send("text", text="Seven eight.")
    talk.send("end")
    for number, expected in ((1, "One two Three four Five six"), (2, "Seven eight")):
        events, sound = talk.until("done")
        assert sound == b""
        assert {event["text"] for event in events} == {number}
        words = [word for event in events if event["type"] == "words" for word in event["words"]]
        assert " ".join(word["word"] for word in words) == expected
        starts = [word["start"] for word in words]
        assert starts == sorted(set(starts))
        file = b"".join(base64.b64decode(e["audio"]) for e in events if e["type"] == "audio")
        samples, rate = soundfile.read(io.BytesIO(file))
        assert len(samples) / rate == pytest.approx(events[-1]["duration"], abs=1e-3)
        assert words[-1]["end"] <= events[-1]["duration"]
    with pytest.raises(ConnectionClosed):
        talk.receive()
    assert talk.connection.close_code == 1000


def test_cancel_frees_the_seat_and_another_text_can_follow(talk: Talk, shared_live: Live) -> None:
    for number in range(30):
        talk.send("text", text=LONG.format(number))
    talk.until("started")
    talk.send("cancel")
    events, _ = talk.until("cancelled")
    assert events[-1]["texts"] == [1]
    assert shared_live.service.gate.num_inside == 0
    talk.send("text", text="Short.")
    talk.send("commit")
    events, sound = talk.until("done")
    assert events[-1]["text"] == 2
    assert sound


def test_cancel_with_nothing_to_cancel(talk: Talk) -> None:
    talk.send("cancel")
    assert talk.receive() == {"type": "cancelled", "texts": []}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_value"),
        ("[1]", "invalid_value"),
        ("[" * 5000, "invalid_value"),
        ('{"type": "sing"}', "invalid_value"),
        ('{"type": {}}', "invalid_value"),
        ('{"type": "text"}', "invalid_value"),
        ('{"type": "text", "text": 4}', "invalid_value"),
        ('{"type": "session", "speed": 9}', "invalid_value"),
        ('{"type": "session", "speed": "1"}', "invalid_value"),
        ('{"type": "session", "voice": "nobody"}', "voice_not_found"),
        ('{"type": "session", "ref_audio": "https://127.0.0.1/"}', "not_allowed"),
        (b"\x00\x01", "invalid_value"),
    ],
)
def test_a_wrong_message_fails_alone(talk: Talk, message: str | bytes, code: str) -> None:
    talk.connection.send(message)
    error = talk.receive()
    assert isinstance(error, dict)
    assert (error["type"], error["error"]["code"]) == ("error", code)
    talk.send("text", text="Fine.")
    talk.send("commit")
    assert talk.until("done")[1]


@pytest.mark.parametrize(
    ("text", "code"), [("[hao9] no.", "invalid_mark"), ("a" * 4097, "too_large")]
)
def test_a_wrong_text_fails_alone(talk: Talk, text: str, code: str) -> None:
    talk.send("text", text=text)
    talk.send("text", text="More of it.")
    talk.send("commit")
    error = talk.receive()
    assert isinstance(error, dict)
    assert (error["type"], error["text"], error["error"]["code"]) == ("error", 1, code)
    talk.send("text", text="Fine.")
    talk.send("commit")
    events, sound = talk.until("done")
    assert events[-1]["text"] == 2
    assert sound


def test_what_has_no_sound_is_told(talk: Talk) -> None:
    talk.send("text", text="Well.\n…\n")
    talk.send("commit")
    talk.until("done")
    talk.send("text", text="…")
    talk.send("commit")
    events, sound = talk.until("done")
    assert (events[-1]["duration"], sound) == (0.0, b"")
    assert events[-1]["warnings"]


def test_no_more_texts_wait_than_allowed(talk: Talk) -> None:
    for _ in range(9):
        talk.send("text", text=LONG.format(1) * 8)
        talk.send("commit")
    found: list[Any] = []
    while not (found and isinstance(found[-1], dict) and found[-1]["type"] == "error"):
        found.append(talk.receive())
    assert found[-1]["error"]["code"] == "overloaded"
    talk.send("cancel")
    talk.until("cancelled")


def test_an_idle_socket_is_closed(serve: Callable[[Settings], Live], settings: Settings) -> None:
    live = serve(replace(settings, ws_idle_seconds=0.2))
    with talking(live) as talk:
        talk.send("text", text="One sentence is said. And one is not")
        events, _ = talk.until("started")
        assert events
        with pytest.raises(ConnectionClosed):
            talk.until("never")
        assert talk.connection.close_code == 4408
    assert_empty(live)


@pytest.mark.parametrize("when", ["before", "started", "sound"])
def test_a_client_that_is_gone_leaves_nothing_behind(
    serve: Callable[[Settings], Live], settings: Settings, when: str
) -> None:
    live = serve(replace(settings, serve_seats=1))
    with talking(live) as talk:
        for number in range(40):
            talk.send("text", text=LONG.format(number))
        if when != "before":
            talk.until("started")
        if when == "sound":
            talk.receive()
        talk.connection.socket.shutdown(socket.SHUT_RDWR)  # no goodbye
    assert_empty(live)  # there is one seat


def test_keys_are_asked_for_and_asked_again(live: Live, settings: Settings) -> None:
    ring = KeyRing(settings.home)
    record, key = ring.add("ann", ("speak",))
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        with pytest.raises(InvalidStatus) as refused, talking(live, additional_headers=headers):
            pass
        assert refused.value.response.status_code == 401
    with talking(live, additional_headers={"Authorization": f"Bearer {key}"}) as talk:
        talk.send("text", text="Fine.")
        talk.send("commit")
        talk.until("done")
        ring.revoke(record.id)
        talk.send("text", text="Not any more.")
        talk.send("commit")
        error = talk.receive()
        assert isinstance(error, dict)
        assert error["error"]["code"] == "invalid_api_key"


def test_a_notice_behind_the_text_is_spoken_once(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, disclosure="end"))
    with live.client() as client, talking(live) as talk:
        talk.send("text", text="One. Two! Three. ")
        talk.send("commit")
        events, _ = talk.until("done")
        body = {"input": "One. Two! Three. ", "response_format": "pcm"}
        whole = client.post("/v1/audio/speech", json=body)
    assert events[-1]["duration"] == pytest.approx(len(whole.content) / 48_000, abs=1e-3)
    assert isinstance(whole, httpx.Response)
