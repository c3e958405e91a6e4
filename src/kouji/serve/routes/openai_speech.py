"""OpenAI's dialect: `POST /v1/audio/speech`, with what Kouji adds to it.

The sound is sent while it is made: as a file, or as server-sent events. With word timestamps the
whole answer is one JSON object. docs/api.md describes every field.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from kouji.errors import UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.leaving import SpeechResponse, while_connected
from kouji.serve.payload import describe, read_body
from kouji.serve.routes.answers import MEDIA_TYPES, SPEECH_ERRORS, UNBUFFERED, Answers
from kouji.serve.routes.speech_body import SpeechBody, speak_call
from kouji.serve.routes.speech_events import events, whole_as_json

router = APIRouter(tags=["openai"])
_ANSWERS: Answers = {
    200: {
        "description": "The sound, events with it, or with its timestamps as JSON.",
        "content": {
            **{media: {"schema": {"type": "string", "format": "binary"}}
               for media in MEDIA_TYPES.values()},
            "text/event-stream": {"schema": {"type": "string"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}  # fmt: skip


@router.post(
    "/v1/audio/speech",
    response_class=Response,
    responses={**_ANSWERS, **SPEECH_ERRORS},
    openapi_extra=describe(SpeechBody, files=("ref_audio",)),
)
@speaks
async def speech(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> Response:
    """Speak a text."""
    service = service_of(request)
    caller.require("speak")
    body, files = await read_body(request, SpeechBody, service.references.max_bytes)
    stream_format = _stream_format(body)
    is_whole = stream_format == "json"
    preparing = speak_call(
        service, body, caller, upload=files.get("ref_audio"), in_chunks=not is_whole
    )
    call = await while_connected(request, preparing)
    if is_whole:
        return JSONResponse(
            *await while_connected(request, whole_as_json(service, call, caller, body))
        )
    utterance = await while_connected(request, service.speak(call, caller))
    if stream_format == "sse":
        told = events(utterance, call, body)
        return SpeechResponse(utterance, told, "text/event-stream", UNBUFFERED)
    content = utterance.encoded(body.response_format)
    return SpeechResponse(utterance, content, MEDIA_TYPES[body.response_format])


def _stream_format(body: SpeechBody) -> str:
    """How the answer is sent; raw sound has no place for timestamps."""
    if body.stream_format == "audio" and body.timestamp_granularities:
        raise UsageError(
            "sound alone cannot carry timestamps",
            seen="stream_format audio with timestamp_granularities",
            allowed="sse or json",
            cure="leave stream_format out to get one JSON object",
        )
    return body.stream_format or ("json" if body.timestamp_granularities else "audio")
