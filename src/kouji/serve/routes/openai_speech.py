"""OpenAI's dialect: `POST /v1/audio/speech`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field

from kouji.serve.access import caller_of, service_of
from kouji.serve.caller import Caller
from kouji.serve.leaving import SpeechResponse, while_connected
from kouji.serve.service import SpeakCall

router = APIRouter(tags=["openai"])
MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


class VoiceId(BaseModel):
    """A voice by its id."""

    id: str


class SpeechBody(BaseModel):
    """What OpenAI's clients send."""

    model: str = "default"
    input: str
    voice: str | VoiceId = "sample"
    instructions: str | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0


@router.post("/v1/audio/speech", response_class=Response)
async def speech(
    request: Request, body: SpeechBody, caller: Annotated[Caller, Depends(caller_of)]
) -> Response:
    """Speak a text; the sound is sent while it is made."""
    service = service_of(request)
    name = body.voice if isinstance(body.voice, str) else body.voice.id
    voice = await service.voice(name, caller)
    call = SpeakCall(
        body.input,
        voice,
        model=body.model,
        style=body.instructions,
        speed=body.speed,
        is_style_strict=False,
    )
    utterance = await while_connected(request, service.speak(call, caller))
    content = utterance.encoded(body.response_format)
    return SpeechResponse(utterance, content, MEDIA_TYPES[body.response_format])
