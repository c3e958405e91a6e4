"""OpenAI's dialect: `/v1/audio/voices`, the voices a key may use and those it keeps.

A voice of another key does not exist here: it is never listed and always 404.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from kouji.errors import UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.keeping import NewVoice
from kouji.serve.leaving import while_connected
from kouji.serve.payload import describe, read_body
from kouji.serve.references import MAX_TRANSCRIPT_CHARACTERS
from kouji.serve.routes.answers import CHANGE_ERRORS, READ_ERRORS
from kouji.serve.routes.lists import After, Limit, page, unix_seconds
from kouji.serve.voicebook import VoiceLine
from kouji.voices.voice import MAX_NAME_CHARACTERS

router = APIRouter(prefix="/v1/audio/voices", tags=["voices"])
Asking = Annotated[Caller, Depends(caller_of)]
VoiceName = Annotated[str, Path(min_length=1, max_length=200)]


class VoiceAnswer(BaseModel):
    """A voice, with Kouji's fields behind OpenAI's.

    consent: attest, recording, verified, key, public, none, unverified, expired, revoked or
             damaged; consent_id names the record
    is_own:  it may be removed by whoever asks
    """

    id: str
    object: Literal["audio.voice"] = "audio.voice"
    type: Literal["audio_sample"] = "audio_sample"
    name: str
    created_at: int
    language: str | None
    transcript: str | None
    seconds: float
    consent: str
    consent_id: str | None
    is_own: bool
    warnings: list[str] = []


class VoiceList(BaseModel):
    """A page of voices."""

    object: Literal["list"]
    data: list[VoiceAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VoiceDeleted(BaseModel):
    """A voice that is gone."""

    id: str
    object: Literal["audio.voice.deleted"] = "audio.voice.deleted"
    deleted: bool = True


class NewVoiceBody(BaseModel):
    """A recording to keep as a voice.

    audio_sample: a data URL, or a URL at an allowed host; in a form the file itself
    consent:      the id of a consent given before
    attestation:  instead of it under the policy attest: "I have the right to use this voice"
    """

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
    type: Literal["audio_sample"] = "audio_sample"
    audio_sample: Annotated[str | None, Field(max_length=100_000_000)] = None
    consent: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    attestation: Annotated[str | None, Field(max_length=200)] = None
    transcript: Annotated[str | None, Field(max_length=MAX_TRANSCRIPT_CHARACTERS)] = None
    language: Literal["zh", "en", "ja", "ko", "yue", "de", "es", "fr", "it", "ru"] | None = None


@router.get("", responses=READ_ERRORS)
async def list_voices(
    request: Request, caller: Asking, after: After = None, limit: Limit = 1000
) -> VoiceList:
    """The voices this key may use, the packaged one first."""
    service = service_of(request)
    lines = await service.in_thread(service.voices.list, caller)
    return VoiceList.model_validate(page([_answer(line, caller) for line in lines], after, limit))


@router.get("/{voice}", responses=READ_ERRORS)
async def get_voice(request: Request, voice: VoiceName, caller: Asking) -> VoiceAnswer:
    """One voice by its id or name."""
    service = service_of(request)
    return _answer(await service.in_thread(service.voices.line, voice, caller), caller)


@router.post(
    "",
    responses=CHANGE_ERRORS,
    openapi_extra=describe(NewVoiceBody, files=("audio_sample",)),
)
@speaks
async def create_voice(request: Request, caller: Asking) -> VoiceAnswer:
    """Keep a recording as a voice of this key."""
    service = service_of(request)
    caller.require("voices")
    body, files = await read_body(request, NewVoiceBody, service.references.max_bytes)
    recording = files.get("audio_sample")
    if recording is None and body.audio_sample is not None:
        recording = await while_connected(request, service.references.read(body.audio_sample))
    if not recording:
        raise UsageError("audio_sample is missing or empty", cure="send an audio file")
    new = NewVoice(
        body.name, recording, body.transcript, body.language, body.consent, body.attestation
    )
    voice, warnings = await service.keep_voice(new, caller)
    line = await service.in_thread(service.voices.line, voice.id, caller)
    return _answer(line, caller, warnings)


@router.delete("/{voice}", responses=CHANGE_ERRORS)
async def delete_voice(request: Request, voice: VoiceName, caller: Asking) -> VoiceDeleted:
    """Remove a voice of this key, its recording, and all that was computed from it."""
    service = service_of(request)
    caller.require("voices")
    gone = await service.in_thread(service.keeper.remove, voice, caller)
    return VoiceDeleted(id=gone.id)


def _answer(line: VoiceLine, caller: Caller, warnings: tuple[str, ...] = ()) -> VoiceAnswer:
    is_own = line.id != "sample" and (line.owner == caller.id or caller.may("admin"))
    return VoiceAnswer(
        id=line.id,
        name=line.name,
        created_at=unix_seconds(line.created),
        language=line.language,
        transcript=line.transcript,
        seconds=round(line.seconds, 3),
        consent=line.consent,
        consent_id=line.consent_id or None,
        is_own=is_own,
        warnings=list(warnings),
    )
