"""The log: one line a request with its id, and never a key, a query string or a text."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest
from live_server import Live
from wire import Wire

from kouji.config import Settings
from kouji.serve.keys import KeyRing
from kouji.serve.logs import JsonLines, TextLines
from kouji.voices.consent import STATEMENT
from kouji.voices.receipt import revoke
from kouji.voices.sample import sample_path

TEXT = "A secret nobody should read."
SPEECH = {"input": TEXT, "voice": "sample", "response_format": "pcm"}


class Lines(logging.Handler):
    """What the server would write, in both formats."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.as_json: list[dict[str, Any]] = []
        self.raw: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        written = JsonLines().format(record)
        self.as_json.append(json.loads(written))
        self.raw += [written, TextLines().format(record)]

    def requests(self) -> list[dict[str, Any]]:
        return [line for line in self.as_json if line["event"] == "request"]


@pytest.fixture
def lines() -> Any:
    handler, root = Lines(), logging.getLogger()
    ours = logging.getLogger("kouji")
    root.addHandler(handler)
    before = ours.level
    ours.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    ours.setLevel(before)


def finished(live: Live, client: httpx.Client) -> None:
    """A request's line is written once its answer is out: ask until the loop has gone on."""
    live.call(_nothing())
    client.get("/livez")


async def _nothing() -> None: ...


def test_a_line_tells_numbers_and_no_words(live: Live, client: httpx.Client, lines: Lines) -> None:
    record, key = KeyRing(live.service.settings.home).add("app", ["speak"])
    headers = {"Authorization": f"Bearer {key}", "X-Request-Id": "mine-1.2_3"}
    path = "/v1/audio/speech?key=in-the-url&text=in-the-query"
    answer = client.post(path, json=SPEECH, headers=headers)
    assert answer.headers["X-Request-Id"] == "mine-1.2_3"
    finished(live, client)
    (line,) = [each for each in lines.requests() if each["id"] == "mine-1.2_3"]
    assert line["seconds"] > 0
    told = {name: line[name] for name in ("key", "method", "route", "status", "bytes",
                                          "characters", "model", "voice", "result")}  # fmt: skip
    assert told == {
        "key": record.id, "method": "POST", "route": "/v1/audio/speech", "status": 200,
        "bytes": len(answer.content), "characters": len(TEXT), "model": "mini",
        "voice": "sample", "result": "finished",
    }  # fmt: skip
    everything = "\n".join(lines.raw)
    for secret in (TEXT, "secret", key, key[6:], "in-the-url", "in-the-query"):
        assert secret not in everything, secret


def test_texts_are_written_where_the_operator_asks(
    serve: Callable[[Settings], Live], settings: Settings, lines: Lines
) -> None:
    live = serve(replace(settings, log_text=True))
    with live.client() as client:
        client.post("/v1/audio/speech", json=SPEECH)
        finished(live, client)
    assert [line["text"] for line in lines.requests() if "text" in line] == [TEXT]


@pytest.mark.parametrize("offered", ["", "a b", "x" * 65, "-x", "ä", "a\tb", "<script>"])
def test_an_odd_id_is_replaced(client: httpx.Client, offered: str) -> None:
    raw = [(b"x-request-id", offered.encode())]
    given = client.get("/livez", headers=raw).headers["X-Request-Id"]
    assert given != offered
    assert len(given) == 32


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nothing", 404, "not_found"), ("PUT", "/livez", 405, "method_not_allowed"),
     ("POST", "/v1/audio/speech", 400, None)],
)  # fmt: skip
def test_every_error_has_openais_shape_and_an_id(
    client: httpx.Client, method: str, path: str, status: int, code: str | None
) -> None:
    answer = client.request(method, path, json={"input": 3} if method == "POST" else None)
    assert answer.status_code == status
    assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}
    assert code in (None, answer.json()["error"]["code"])
    assert len(answer.headers["X-Request-Id"]) == 32
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_nobody_foresaw_is_an_answer_and_a_place_in_the_log(
    live: Live, client: httpx.Client, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"cannot speak {TEXT}")

    monkeypatch.setattr(live.service, "check_text", fail)
    answer = client.post("/v1/audio/speech", json=SPEECH)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "RuntimeError" not in answer.text
    assert "Traceback" not in answer.text
    finished(live, client)
    (failure,) = [line for line in lines.as_json if "RuntimeError" in line["event"]]
    assert answer.headers["X-Request-Id"] in failure["event"]
    assert "test_logs.py" in failure["event"]
    assert TEXT not in "\n".join(lines.raw)
    assert live.service.gate.num_inside == 0


def test_a_caller_who_hangs_up_is_told_as_such(
    live: Live, client: httpx.Client, lines: Lines
) -> None:
    with Wire(live, receive_buffer=4096) as wire:
        wire.post("/v1/audio/speech", {**SPEECH, "input": "So it goes on. " * 200})
        assert wire.head()[0] == 200
    live.call(live.service.gate.empty())
    finished(live, client)
    (line,) = [each for each in lines.requests() if each["route"] == "/v1/audio/speech"]
    assert (line["status"], line["result"]) == (499, "left")


def test_a_stream_that_ends_early_is_told_by_its_reason(
    live: Live, client: httpx.Client, lines: Lines
) -> None:
    """Nothing can be told to the caller any more; it is no fault that needs a place in the code."""
    files = {"audio_sample": sample_path().read_bytes()}
    data = {"name": "leaver", "attestation": STATEMENT}
    client.post("/v1/audio/voices", data=data, files=files).raise_for_status()
    with Wire(live, receive_buffer=4096) as wire:
        said = {**SPEECH, "voice": "leaver", "input": "So it goes on. " * 200}
        wire.post("/v1/audio/speech", said)
        assert wire.head()[0] == 200
        home = live.service.settings.home
        revoke(home, "leaver", audit_file=home / "audit.jsonl")
        with suppress(ConnectionError):
            while wire.socket.recv(1 << 20):
                pass
    finished(live, client)
    (line,) = [each for each in lines.requests() if each["route"] == "/v1/audio/speech"]
    assert (line["result"], line["code"]) == ("failed", "consent_required")
    assert not [each for each in lines.as_json if "RuntimeError" in each["event"]]


def test_an_event_is_one_line_whatever_it_says() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "a\nb %s", ("c",), info)
    assert "\n" not in TextLines().format(record)
    assert "\n" not in JsonLines().format(record)
    assert "ValueError" in json.loads(JsonLines().format(record))["event"]


def test_every_end_is_told_whichever_way_the_route_said_so(
    live: Live, client: httpx.Client, lines: Lines
) -> None:
    client.get("/control", headers={"X-Request-Id": "control"})
    client.get("/set_refer_audio?refer_audio_path=none", headers={"X-Request-Id": "refer"})
    client.get("/api/predict/files/none.wav", headers={"X-Request-Id": "file"})
    with Wire(live) as wire:  # hangs up in the middle of its body
        wire.send(b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: half\r\n"
                  b"Content-Length: 100\r\n\r\n{")  # fmt: skip
    with Wire(live) as wire:
        wire.send(b"GET /no/such/socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
                  b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nX-Request-Id: socket\r\n"
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")  # fmt: skip
        assert wire.head()[0] == 403
    told: dict[str, tuple[int, str]] = {}
    for _ in range(1000):
        finished(live, client)
        told = {each["id"]: (each["status"], each["result"]) for each in lines.requests()}
        if {"control", "refer", "file", "half", "socket"} <= told.keys():
            break
    assert told["control"] == told["socket"] == (403, "refused")
    assert told["refer"] == (400, "refused")
    assert told["file"] == (404, "refused")
    assert told["half"] == (499, "left")
