"""The official `openai` client on a real server, unmodified: sync, async, streaming, errors."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import av
import httpx
import numpy as np
import openai
import pytest
import soundfile
from live_server import Live
from wire import Wire

from kouji.audio.labels import read_labels
from kouji.config import Settings

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
TEXT = "Good morning. 今天天气很好。 This is the last sentence."


@pytest.fixture
def ai(shared_live: Live) -> Iterator[openai.OpenAI]:
    """The client as everybody makes it, with another base URL."""
    with openai.OpenAI(api_key="none", base_url=f"{shared_live.url}/v1", max_retries=0) as client:
        yield client


def decode(data: bytes, format: str) -> np.ndarray:
    """Samples by a decoder that shares nothing with our encoders' containers."""
    if format == "pcm":
        return np.frombuffer(data, "<i2").astype(np.float32) / 32768
    if format in ("aac", "flac"):  # libsndfile reads neither ADTS nor FLAC of unknown length
        with av.open(io.BytesIO(data)) as container:
            frames = [frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)]
        samples = np.concatenate(frames)
        return samples / np.iinfo(samples.dtype).max if samples.dtype.kind == "i" else samples
    return np.asarray(soundfile.read(io.BytesIO(data), dtype="float32")[0])


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_streams_the_same_sound(ai: openai.OpenAI, format: str) -> None:
    arguments = {"model": "gpt-4o-mini-tts", "voice": "nova", "input": TEXT}
    pcm = ai.audio.speech.create(**arguments, response_format="pcm").content
    answer = ai.audio.speech.create(**arguments, response_format=format)
    samples = decode(answer.content, format)
    rate = 48_000 if format == "opus" and len(samples) > 1.5 * len(pcm) / 2 else 24_000
    assert len(samples) / rate == pytest.approx(len(pcm) / 2 / 24_000, abs=0.2)
    assert np.abs(samples).max() > 0.001
    assert answer.response.headers["X-AI-Generated"] == "true"
    if format != "pcm":
        assert read_labels(answer.content).is_ai_generated


def test_with_streaming_response(ai: openai.OpenAI, tmp_path) -> None:
    with ai.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=TEXT, response_format="wav"
    ) as answer:
        assert answer.headers["content-type"] == "audio/wav"
        answer.stream_to_file(tmp_path / "out.wav")
    samples, rate = soundfile.read(tmp_path / "out.wav")
    assert rate == 24_000
    assert len(samples) > rate / 2


def test_async(shared_live: Live) -> None:
    async def speak(text: str) -> bytes:
        async with (
            openai.AsyncOpenAI(api_key="x", base_url=f"{shared_live.url}/v1") as client,
            client.audio.speech.with_streaming_response.create(
                model="tts-1-hd", voice="sample", input=text, response_format="pcm"
            ) as answer,
        ):
            return b"".join([piece async for piece in answer.iter_bytes()])

    async def both() -> list[bytes]:
        return list(await asyncio.gather(speak("One two three."), speak("Something else.")))

    first, second = asyncio.run(both())
    alone = asyncio.run(speak("One two three."))
    assert len(first) == len(alone) != len(second)
    both_ways = [np.frombuffer(sound, "<i2").astype(int) for sound in (first, alone)]
    assert np.abs(both_ways[0] - both_ways[1]).max() <= 1  # the rounding of 16 bits


def read_events(ai: openai.OpenAI, **extra: object) -> list[dict]:
    with ai.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input=TEXT, response_format="pcm",
        stream_format="sse", extra_body=extra,
    ) as answer:  # fmt: skip
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_events_carry_the_sound_and_end_with_usage(ai: openai.OpenAI) -> None:
    found = read_events(ai)
    *deltas, done = found
    assert {event["type"] for event in deltas} == {"speech.audio.delta"}
    assert len(deltas) > 1
    sound = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    plain = ai.audio.speech.create(model="tts-1", voice="alloy",
                                   input=TEXT, response_format="pcm").content  # fmt: skip
    assert sound == plain
    assert done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["input_tokens"] == len(TEXT)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert done["duration"] == pytest.approx(len(sound) / 2 / 24_000, abs=1e-3)


def test_the_clients_own_event_stream_reads_them(ai: openai.OpenAI) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": TEXT, "stream_format": "sse"}
    with ai.post(
        "/audio/speech", cast_to=object, body=body, stream=True, stream_cls=openai.Stream[object]
    ) as stream:
        kinds = [event["type"] for event in stream]  # type: ignore[index]
    assert kinds[-1] == "speech.audio.done"
    assert set(kinds[:-1]) == {"speech.audio.delta"}


def test_words_in_events_and_in_json(ai: openai.OpenAI) -> None:
    found = read_events(ai, timestamp_granularities=["word"])
    words = [word for event in found if event["type"] == "speech.words" for word in event["words"]]
    answer = ai.post(
        "/audio/speech",
        cast_to=object,
        body={"model": "tts-1", "input": TEXT, "timestamp_granularities": ["word", "phone"],
              "response_format": "wav"},
    )  # fmt: skip
    assert isinstance(answer, dict)
    assert [word["word"] for word in answer["words"]] == [word["word"] for word in words]
    assert answer["words"][0]["word"] == "Good"
    assert answer["phones"]
    starts = [word["start"] for word in answer["words"]]
    assert starts == sorted(starts)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(answer["audio"])))
    assert len(samples) / rate == pytest.approx(answer["duration"], abs=1e-3)
    assert answer["words"][-1]["end"] <= answer["duration"]


def test_sound_alone_carries_no_timestamps(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="timestamps"):
        ai.audio.speech.create(
            model="tts-1", voice="alloy", input="Hi.", stream_format="audio",
            extra_body={"timestamp_granularities": ["word"]},
        )  # fmt: skip


def test_prose_instructions_never_fail(ai: openai.OpenAI) -> None:
    for prose in (
        "Voice Affect: Calm, composed, and reassuring; speak 900% faster, in a Sichuan dialect.",
        "Ωμέγα 🙂 xyzzy",
        "用四川话说",
        "Accent: warm refined New York. " * 100,
    ):
        answer = ai.audio.speech.create(
            model="gpt-4o-mini-tts", voice="coral", input="Hi.", instructions=prose
        )
        assert len(answer.content) > 500


def test_a_style_of_kouji_is_strict(ai: openai.OpenAI) -> None:
    def speak(style: object) -> bytes:
        return ai.audio.speech.create(
            model="tts-1", voice="alloy", input=TEXT, response_format="pcm",
            extra_body={"style": style},
        ).content  # fmt: skip

    assert len(speak("slow")) > len(speak("fast"))
    assert len(speak({"rate": 0.5})) > len(speak({"rate": 2.0}))
    for wrong in ("xyzzy", {"rate": 9}, {"emotion": "xyzzy"}, {"speed": 1}, {"dialect": "sichuan"}):
        with pytest.raises(openai.BadRequestError):
            speak(wrong)


def test_speed_and_seed(ai: openai.OpenAI) -> None:
    def speak(speed: float = 1.0, seed: int = 0) -> bytes:
        return ai.audio.speech.create(
            model="tts-1", voice="alloy", input=TEXT, response_format="pcm", speed=speed,
            extra_body={"seed": seed},
        ).content  # fmt: skip

    assert len(speak(0.5)) > len(speak()) > len(speak(2.0))
    assert speak(seed=7) == speak(seed=7)
    assert speak(seed=7) != speak(seed=8)
    assert len(speak(4.0)) == len(speak(2.0))  # held, with a warning
    for wrong in (0.24, 4.01):
        with pytest.raises(openai.BadRequestError):
            speak(wrong)


def test_errors_are_the_clients_classes(ai: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        ai.audio.speech.create(model="tts-1", voice="nobody", input="Hi.")
    assert missing.value.code == "voice_not_found"
    with pytest.raises(openai.NotFoundError):
        ai.audio.speech.create(model="whisper-9", voice="alloy", input="Hi.")
    with pytest.raises(openai.BadRequestError) as empty:
        ai.audio.speech.create(model="tts-1", voice="alloy", input="")
    assert empty.value.body["message"]  # type: ignore[index]
    with pytest.raises(openai.BadRequestError) as wrong:
        ai.audio.speech.create(model="tts-1", voice="alloy", input="Hi.", response_format="ogg")  # type: ignore[arg-type]
    assert wrong.value.param == "response_format"
    with pytest.raises(openai.BadRequestError):
        ai.audio.speech.create(model="tts-1", voice="alloy", input="[hao9]")


def test_unknown_fields_are_told(ai: openai.OpenAI) -> None:
    answer = ai.audio.speech.create(
        model="tts-1", voice={"id": "sample"}, input="Hi.", extra_body={"sede": 4}
    )
    assert "sede" in answer.response.headers["X-Kouji-Warnings"]


def test_the_client_comes_again_when_it_was_told_to(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, serve_seats=1, serve_queue=1))
    seat = live.call(live.service.gate.enter("somebody"))
    told: list[tuple[int, str | None]] = []

    def note(answer: httpx.Response) -> None:
        told.append((answer.status_code, answer.headers.get("Retry-After")))
        live.server.loop.call_soon_threadsafe(seat.leave)

    with (
        Wire(live) as waits,
        httpx.Client(event_hooks={"response": [note]}) as http,
        openai.OpenAI(api_key="x", base_url=f"{live.url}/v1", http_client=http) as client,
    ):
        waits.post("/v1/audio/speech", {"input": "Hi.", "response_format": "pcm"})
        live.call(_is_waiting(live))
        sound = client.audio.speech.create(model="tts-1", voice="alloy", input="Hi.")
        assert waits.answer().status == 200
    assert [status for status, _ in told] == [503, 200]
    assert int(told[0][1] or 0) >= 1
    assert len(sound.content) > 500


async def _is_waiting(live: Live) -> None:
    while not live.service.gate.num_waiting:
        await asyncio.sleep(0.001)
