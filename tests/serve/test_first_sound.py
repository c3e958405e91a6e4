"""Sound is sent while it is made, in every format; a client that leaves ends it in every form."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest
from live_server import Live

from kouji.config import Settings
from kouji.serve.gate import Seat
from kouji.serve.metrics import Metrics
from kouji.serve.utterance import Facts, Utterance
from kouji.speaking import SpeechChunk
from kouji.types import Audio

RATE = 24_000
LONG = "This is a rather long sentence, and many like it follow behind. " * 40


class HeldStream:
    """A stream whose second chunk is there when the test says so."""

    def __init__(self) -> None:
        self.more, self.is_closed = asyncio.Event(), False

    async def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        times = np.arange(RATE // 2) / RATE
        tone = (0.3 * np.sin(2 * np.pi * 300 * times)).astype(np.float32)
        yield SpeechChunk(tone)
        await self.more.wait()
        yield SpeechChunk(tone)

    def close(self) -> None:
        self.is_closed = True


def make(stream: HeldStream) -> Utterance:
    facts = Facts("mini", "sample", 0, RATE, 7)
    return Utterance(stream, facts, Seat(lambda: None), Metrics(), 0.0)  # type: ignore[arg-type]


def num_decoded(data: bytes, format: str) -> int:
    """Samples at 24 kHz an independent decoder makes of the beginning of a stream."""
    if format == "pcm":
        return len(data) // 2
    with av.open(io.BytesIO(data), format="ogg" if format == "opus" else format) as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples for frame in frames) * RATE // frames[0].sample_rate


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_the_first_chunk_is_heard_before_there_is_a_second(format: str) -> None:
    async def listen() -> None:
        stream = HeldStream()
        utterance = make(stream)
        await utterance.start()
        sound = utterance.encoded(format)
        first = await anext(sound)
        assert not stream.more.is_set()
        assert num_decoded(first, format) > RATE / 4
        stream.more.set()
        whole = first + b"".join([piece async for piece in sound])
        assert num_decoded(whole, format) == pytest.approx(RATE, abs=RATE / 10)
        assert stream.is_closed

    asyncio.run(listen())


@pytest.mark.parametrize("format", ["mp3", "wav"])
def test_a_reader_who_stops_ends_the_stream(format: str) -> None:
    async def leave() -> None:
        stream = HeldStream()
        utterance = make(stream)
        sound = utterance.encoded(format)
        await anext(sound)
        await sound.aclose()  # type: ignore[attr-defined]
        assert stream.is_closed

    asyncio.run(leave())


class NotingSigner:
    """Signs by a word at the end."""

    def sign_bytes(self, content: bytes, format: str, produce_id: str) -> bytes:
        return content + f"signed {format} {produce_id}".encode()


def test_whole_files_are_signed_where_the_operator_has_a_key() -> None:
    async def listen() -> bytes:
        stream, signer = HeldStream(), NotingSigner()
        stream.more.set()
        facts, seat = Facts("mini", "sample", 0, RATE, 7), Seat(lambda: None)
        utterance = Utterance(stream, facts, seat, Metrics(), 0.0, signer=signer)  # type: ignore[arg-type]
        tone = np.zeros(RATE, np.float32)
        try:
            return await utterance.encode(Audio(tone, RATE), "wav")
        finally:
            utterance.close()

    content = asyncio.run(listen())
    assert content.startswith(b"RIFF")
    assert content.endswith(b"signed wav 00000007")


class HeldBack:
    """A real stream that gives its second chunk when the test says so."""

    def __init__(self, stream: Any, more: asyncio.Event) -> None:
        self._stream, self._more = stream, more
        self.num_chunks = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        async for chunk in self._stream:
            self.num_chunks += 1
            yield chunk
            await self._more.wait()


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
def test_bytes_arrive_while_the_server_still_speaks(
    live: Live, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    tts, more = live.service.models.get(), asyncio.Event()
    speak = tts.stream
    monkeypatch.setattr(tts, "stream", lambda *a, **k: HeldBack(speak(*a, **k), more))

    async def go_on() -> None:
        more.set()

    body = {"input": "Six short sentences. " * 6, "response_format": format}
    with (
        live.client() as client,
        client.stream("POST", "/v1/audio/speech", json=body) as answer,
    ):
        pieces = answer.iter_bytes()
        first = next(pieces)
        assert len(first) > 100
        assert live.service.gate.num_inside == 1
        live.call(go_on())
        assert sum(map(len, pieces)) > len(first)


SENTENCE = "One sentence that is long enough for several pieces of sound to be made of it."
TTS = {"text": SENTENCE, "text_lang": "en", "ref_audio_path": "sample", "prompt_lang": "en"}


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/tts", {"json": {**TTS, "streaming_mode": 1}}),
        ("/tts", {"json": {**TTS, "streaming_mode": 2}}),
        ("/tts", {"json": {**TTS, "streaming_mode": "true", "media_type": "raw"}}),
        ("/inference_sft", {"data": {"tts_text": SENTENCE, "spk_id": "sample"}}),
        ("/v1/audio/speech", {"json": {"input": SENTENCE, "response_format": "pcm"}}),
    ],
)
def test_every_dialect_sends_a_sentence_before_it_is_whole(
    live: Live, monkeypatch: pytest.MonkeyPatch, path: str, asked: dict[str, Any]
) -> None:
    tts, more = live.service.models.get(), asyncio.Event()
    speak, held = tts.stream, []

    def hold_back(*arguments: Any, **options: Any) -> HeldBack:
        held.append(HeldBack(speak(*arguments, **options), more))
        return held[-1]

    monkeypatch.setattr(tts, "stream", hold_back)

    async def go_on() -> None:
        more.set()

    with live.client() as client, client.stream("POST", path, **asked) as answer:
        pieces = answer.iter_raw()
        first = 0
        while first < 1000:  # past a header
            first += len(next(pieces))
        assert live.service.gate.num_inside == 1
        live.call(go_on())
        assert sum(map(len, pieces)) > 0
    assert held[0].num_chunks > 1  # of one sentence


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": "mp3"},
        {"stream_format": "sse"},
        {"stream_format": "json"},
        {"response_format": "opus", "timestamp_granularities": ["word"]},
    ],
)
def test_a_client_that_leaves_ends_its_speech(
    serve: Callable[[Settings], Live], settings: Settings, more: dict[str, Any]
) -> None:
    live = serve(replace(settings, serve_seats=1))
    leave_at_once(live, {"input": LONG, **more})
    with live.client() as client:  # there is one seat
        client.post("/v1/audio/speech", json={"input": "Hi."}).raise_for_status()
        figures = client.get("/metrics").text
    # The short one alone was spoken to its end.
    assert 'kouji_utterances_total{model="mini",result="finished"} 1.0' in figures
    live.service.models.get().engine.check_integrity()


def leave_at_once(live: Live, body: dict[str, Any]) -> None:
    """Ask, wait until it is worked on, and hang up."""
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(content)}\r\n"
    )
    address = ("127.0.0.1", int(live.url.rpartition(":")[2]))
    with socket.create_connection(address) as connection:
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
        entered = live.call(has_entered(live))
        assert entered


async def has_entered(live: Live) -> bool:
    """Whether a request got as far as the engine, within a minute."""
    engine = live.service.models.get().engine
    for _ in range(6000):
        if engine.stats().num_requests:
            return True
        await asyncio.sleep(0.01)
    return False
