"""A speech with what is known about it: as server-sent events, or as one JSON object.

The events are OpenAI's `speech.audio.delta` and `speech.audio.done`; `speech.words` and `error`
are ours. Times are seconds from the start of the sound.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from kouji.errors import KoujiError
from kouji.serve.caller import Caller
from kouji.serve.problems import problem_of
from kouji.serve.routes.speech_body import SpeechBody
from kouji.serve.service import Service, SpeakCall
from kouji.serve.utterance import SoundWriter, Utterance
from kouji.types import Timing

TOKENS_PER_SECOND = 25  # in which output is counted: a token of sound is 40 ms


async def events(utterance: Utterance, call: SpeakCall, body: SpeechBody) -> AsyncIterator[str]:
    """Events while the sound is made; an error after the first sound is the last event."""
    writer = SoundWriter(utterance, body.response_format)
    warnings = list(utterance.facts.warnings)
    try:
        async with aclosing(utterance.chunks()) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                if data := await writer.write(chunk.samples):
                    yield _delta(data)
                marks = timings(body.timestamp_granularities, chunk.words, chunk.phones)
                if any(marks.values()):
                    yield _event("speech.words", **marks)
                warnings += chunk.segment.warnings if chunk.segment else ()
    except KoujiError as error:
        yield _event("error", **problem_of(error).body())
        return
    if data := await writer.close():
        yield _delta(data)
    yield _event(
        "speech.audio.done",
        usage=usage(len(call.text), writer.seconds),
        seed=call.seed,
        duration=round(writer.seconds, 4),
        warnings=warnings,
    )


async def whole_as_json(
    service: Service, call: SpeakCall, caller: Caller, body: SpeechBody
) -> tuple[dict[str, Any], int, dict[str, str]]:
    """All of a speech as one object, with status and headers."""
    utterance = await service.speak(call, caller)
    try:
        speech = await utterance.whole()
        audio = await utterance.encode(speech.audio, body.response_format)
    finally:
        utterance.close()
    of_segments = (warning for segment in speech.segments for warning in segment.warnings)
    content = {
        "object": "audio.speech",
        "format": body.response_format,
        "sample_rate": speech.audio.sample_rate,
        "duration": round(speech.audio.duration, 4),
        "audio": base64.b64encode(audio).decode(),
        **timings(body.timestamp_granularities, speech.words, speech.phones),
        "seed": call.seed,
        "warnings": [*utterance.facts.warnings, *of_segments],
        "usage": usage(len(call.text), speech.audio.duration),
    }
    return content, 200, utterance.facts.headers()


def timings(
    granularities: Sequence[str], words: Iterable[Timing], phones: Iterable[Timing]
) -> dict[str, list[dict[str, Any]]]:
    """The timings that were asked for: of word, phone, or both."""
    asked: dict[str, list[dict[str, Any]]] = {}
    if "word" in granularities:
        asked["words"] = [timing("word", each) for each in words]
    if "phone" in granularities:
        asked["phones"] = [timing("phone", each) for each in phones]
    return asked


def timing(name: str, each: Timing) -> dict[str, Any]:
    """One timing, in the shape of OpenAI's transcriptions."""
    return {name: each.text, "start": round(each.start, 4), "end": round(each.end, 4)}


def usage(num_characters: int, seconds: float) -> dict[str, int]:
    """Characters in, tokens of 40 ms out."""
    tokens = round(seconds * TOKENS_PER_SECOND)
    return {
        "input_tokens": num_characters,
        "output_tokens": tokens,
        "total_tokens": num_characters + tokens,
    }


def _delta(data: bytes) -> str:
    return _event("speech.audio.delta", audio=base64.b64encode(data).decode())


def _event(kind: str, **facts: Any) -> str:
    return f"data: {json.dumps({'type': kind, **facts}, ensure_ascii=False)}\n\n"
