"""Clients who leave in every dialect, in every way, at random moments: nothing stays held."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
from live_server import Live
from prometheus_client.parser import text_string_to_metric_families

from kouji.config import Settings

NUM_LEAVERS = 240
AT_ONCE = 12
TEXT = "This is a rather long sentence, and many like it follow behind. " * 8
_RESET = struct.pack("ii", 1, 0)  # linger for no time: the connection is cut, not closed
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"


def as_json(path: str, **body: Any) -> bytes:
    return request("POST", path, _JSON, json.dumps(body).encode())


def request(method: str, path: str, kind: str, body: bytes) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def frames(*events: dict[str, Any]) -> bytes:
    """A WebSocket's handshake, and text frames under a mask of zeros behind it."""
    key = base64.b64encode(os.urandom(16)).decode()
    said = (
        "GET /v1/audio/speech/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
        f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    ).encode()
    for event in events:
        text = json.dumps(event).encode()
        said += b"\x81" + struct.pack(">BH", 0x80 | 126, len(text)) + bytes(4) + text
    return said


SPEECH = "/v1/audio/speech"
TTS = {"text": TEXT, "text_lang": "en", "ref_audio_path": "sample", "prompt_lang": "en"}
SFT = urlencode({"tts_text": TEXT, "spk_id": "sample"}).encode()
DIALECTS = {
    "mp3": as_json(SPEECH, input=TEXT),
    "wav": as_json(SPEECH, input=TEXT, response_format="wav"),
    "events": as_json(SPEECH, input=TEXT, stream_format="sse"),
    "whole": as_json(SPEECH, input=TEXT, timestamp_granularities=["word"]),
    "batch": as_json(f"{SPEECH}/batch", requests=[{"input": TEXT}] * 3),
    "tts": request("GET", "/tts?" + urlencode(TTS), _JSON, b""),
    "tts stream": as_json("/tts", **TTS, streaming_mode=2),
    "cosyvoice": request("GET", "/inference_sft", _FORM, SFT),
    "predict": as_json("/api/predict", data=["3s极速复刻", None, TEXT, ""]),
    "socket": frames({"type": "text", "text": TEXT}, {"type": "commit"}),
}


async def leave(live: Live, draw: random.Random, said: bytes) -> None:
    """Say a request or a part of its end, listen to a part of the answer, and be gone."""
    place = urlsplit(live.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    connection: socket.socket = writer.get_extra_info("socket")
    cut = draw.choice((0, 0, 0, 1, 20))
    head = said.index(b"\r\n\r\n") + 4
    writer.write(said[: max(head, len(said) - cut)])
    await writer.drain()
    with suppress(TimeoutError, asyncio.IncompleteReadError):
        wanted = draw.choice((0, 1, 300, 5000, 50_000))
        await asyncio.wait_for(reader.readexactly(wanted), draw.choice((0.1, 0.5, 2.0)))
    match draw.choice(("close", "reset", "half")):
        case "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()
        case "half":
            writer.write_eof()
            with suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), 30)  # until the server has closed too
            writer.close()
        case _:
            writer.close()


async def all_leave(live: Live) -> None:
    draw, names = random.Random(4), list(DIALECTS)
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with room:
            await leave(live, draw, DIALECTS[names[number % len(names)]])

    await asyncio.gather(*(one(number) for number in range(NUM_LEAVERS)))


async def is_empty(live: Live) -> bool:
    """Whether, within a minute, nobody is inside any more."""
    engine, gate = live.service.models.get().engine, live.service.gate
    for _ in range(6000):
        if not (gate.num_inside or gate.num_waiting or engine.stats().num_requests):
            return True
        await asyncio.sleep(0.01)
    return False


def counted(client: httpx.Client, name: str) -> float:
    """The sum of a figure over its labels."""
    page = client.get("/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    )


def test_hundreds_who_leave_hold_nothing(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, serve_seats=4, serve_queue=64))
    asyncio.run(all_leave(live))
    assert live.call(is_empty(live))
    engine = live.service.models.get().engine
    engine.check_integrity()
    stats = engine.stats()
    assert (stats.queue_length, stats.seats_used, sum(stats.rows.values())) == (0, 0, 0)
    with live.client() as client:
        # A reset may overtake what was said, so not all of them were heard.
        assert NUM_LEAVERS / 2 < counted(client, "kouji_requests_total") <= NUM_LEAVERS
        assert counted(client, "kouji_engine_ended_total") == sum(stats.ended.values())
        assert stats.ended.get("failed", 0) == 0
        assert stats.ended["cancelled"] > 0
        for said in (SPEECH, "/tts"):
            body = {"input": "Hi."} if said == SPEECH else {**TTS, "text": "Hi."}
            client.post(said, json=body).raise_for_status()
        assert counted(client, "kouji_gate_inside") == 0
