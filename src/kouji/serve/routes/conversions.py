"""`POST /v1/audio/conversions`: a recording, said again in another voice.

A form with the recording and the name of a voice; the sound is sent while it is made. Only models
that hear speech as tokens can do it; docs/api.md says which.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from kouji.errors import UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.leaving import SpeechResponse, while_connected
from kouji.serve.payload import describe, read_body
from kouji.serve.routes.answers import MEDIA_TYPES, SPEECH_ERRORS, Answers
from kouji.serve.routes.speech_body import MAX_SEED, Format, Name
from kouji.serve.service import Service, SpeakCall

router = APIRouter(tags=["openai"])
_ANSWERS: Answers = {
    200: {
        "description": "The sound.",
        "content": {
            media: {"schema": {"type": "string", "format": "binary"}}
            for media in MEDIA_TYPES.values()
        },
    }
}


class ConversionBody(BaseModel):
    """What is to be made of the form's file `file`; in JSON `file` is a data URL, or a URL at a
    host the operator allows. Without `model` the first that can converts."""

    model_config = ConfigDict(extra="forbid")

    file: Annotated[str | None, Field(max_length=100_000_000)] = None
    voice: Name | None = None
    model: Annotated[str, Field(max_length=200)] = "default"
    response_format: Format = "wav"
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    disclosure: Literal["none", "start", "end"] | None = None
    notice: Literal["spoken", "morse"] | None = None


@router.post(
    "/v1/audio/conversions",
    response_class=Response,
    responses={**_ANSWERS, **SPEECH_ERRORS},
    openapi_extra=describe(ConversionBody, files=("file",)),
)
@speaks
async def convert(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> Response:
    """Say a recording again in another voice."""
    service = service_of(request)
    caller.require("speak")
    body, files = await read_body(request, ConversionBody, service.references.max_bytes)
    call = await while_connected(request, _call(service, body, files.get("file"), caller))
    utterance = await while_connected(request, service.speak(call, caller))
    content = utterance.encoded(body.response_format)
    return SpeechResponse(utterance, content, MEDIA_TYPES[body.response_format])


async def _call(
    service: Service, body: ConversionBody, upload: bytes | None, caller: Caller
) -> SpeakCall:
    from kouji.speech_request import SpeakOptions

    voice = await service.voice(body.voice or service.settings.default_voice, caller)
    recording = upload
    if recording is None and body.file is not None:
        recording = await service.references.read(body.file)
    if not recording:
        raise UsageError("file is missing or empty", cure="send the recording to be converted")
    return SpeakCall(
        "",
        voice,
        model=body.model,
        speed=body.speed,
        seed=body.seed,
        options=SpeakOptions(disclosure=body.disclosure, notice=body.notice),
        source=await service.read_source(recording, caller),
    )
