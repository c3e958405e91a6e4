"""OpenAI's dialect: `/v1/audio/voice_consents`, and the sentence a speaker is to read.

Deleting a consent takes it back: nobody speaks in a voice kept with it any more. A consent of
another key does not exist here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from kouji.errors import UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.consentbook import PURPOSE, ConsentRecord
from kouji.serve.payload import describe, read_body, read_json
from kouji.serve.routes.answers import CHANGE_ERRORS, READ_ERRORS
from kouji.serve.routes.lists import After, page, unix_seconds
from kouji.voices.voice import MAX_NAME_CHARACTERS

router = APIRouter(prefix="/v1/audio/voice_consents", tags=["voices"])
Asking = Annotated[Caller, Depends(caller_of)]
Number = Annotated[str, Path(min_length=1, max_length=100)]
Label = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
Tag = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$")]


class ConsentAnswer(BaseModel):
    """A consent, with Kouji's fields behind OpenAI's.

    is_verified: its speaker was compared with a voice; expires_at then says until when
    """

    id: str
    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    name: str
    language: str
    created_at: int
    challenge: str | None
    is_verified: bool
    expires_at: int | None


class ConsentList(BaseModel):
    """A page of consents, the newest first."""

    object: Literal["list"]
    data: list[ConsentAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ConsentDeleted(BaseModel):
    """A consent that was taken back, with a receipt for each voice."""

    id: str
    object: Literal["audio.voice_consent"] = "audio.voice_consent"
    deleted: bool = True
    receipts: list[dict[str, Any]]


class ChallengeAnswer(BaseModel):
    """A sentence the speaker is to read aloud now."""

    id: str
    object: Literal["audio.voice_consent.challenge"] = "audio.voice_consent.challenge"
    sentence: str
    language: str
    expires_at: int


class NewConsentBody(BaseModel):
    """A recording in which a speaker agrees; `challenge` names the sentence they read."""

    model_config = ConfigDict(extra="ignore")

    name: Label
    language: Tag
    recording: Annotated[str | None, Field(max_length=100_000_000)] = None
    challenge: Annotated[str | None, Field(min_length=1, max_length=100)] = None


class RenameBody(BaseModel):
    """Another label."""

    model_config = ConfigDict(extra="ignore")

    name: Label


class ChallengeBody(BaseModel):
    """The language of the sentence; the voice may speak any."""

    model_config = ConfigDict(extra="ignore")

    language: Literal["en", "zh"] = "en"


@router.post("/challenges", responses=CHANGE_ERRORS, openapi_extra=describe(ChallengeBody))
async def create_challenge(request: Request, caller: Asking) -> ChallengeAnswer:
    """A sentence with random words, to be read within minutes."""
    from kouji.verification.consent import Challenge, new_challenge

    service = service_of(request)
    caller.require("voices")
    body = await read_json(request, ChallengeBody)

    def ask() -> Challenge:
        home = service.settings.home
        return new_challenge(home, language=body.language, purpose=PURPOSE, owner=caller.id)

    challenge: Challenge = await service.in_thread(ask)
    return ChallengeAnswer(
        id=challenge.id,
        sentence=challenge.sentence,
        language=challenge.language,
        expires_at=unix_seconds(challenge.expires),
    )


@router.post(
    "", responses=CHANGE_ERRORS, openapi_extra=describe(NewConsentBody, files=("recording",))
)
@speaks
async def create_consent(request: Request, caller: Asking) -> ConsentAnswer:
    """Keep a recording in which a speaker agrees."""
    service = service_of(request)
    caller.require("voices")
    body, files = await read_body(request, NewConsentBody, service.references.max_bytes)
    recording = files.get("recording")
    if recording is None and body.recording is not None:
        recording = await service.references.read(body.recording)
    if not recording:
        raise UsageError("recording is missing or empty", cure="send an audio file")

    def add(recording: bytes) -> ConsentRecord:
        return service.consents.add(
            recording, caller, name=body.name, language=body.language, challenge=body.challenge
        )

    return _answer(await service.seated(caller, add, recording))


@router.get("", responses=READ_ERRORS)
async def list_consents(
    request: Request,
    caller: Asking,
    after: After = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> ConsentList:
    """The consents this key has brought."""
    service = service_of(request)
    records = await service.in_thread(service.consents.list, caller)
    return ConsentList.model_validate(page([_answer(each) for each in records], after, limit))


@router.get("/{consent}", responses=READ_ERRORS)
async def get_consent(request: Request, consent: Number, caller: Asking) -> ConsentAnswer:
    """One consent."""
    service = service_of(request)
    return _answer(await service.in_thread(service.consents.get, consent, caller))


@router.post("/{consent}", responses=CHANGE_ERRORS, openapi_extra=describe(RenameBody))
async def rename_consent(request: Request, consent: Number, caller: Asking) -> ConsentAnswer:
    """Give a consent another label."""
    service = service_of(request)
    caller.require("voices")
    body = await read_json(request, RenameBody)
    return _answer(await service.in_thread(service.consents.rename, consent, body.name, caller))


@router.delete("/{consent}", responses=CHANGE_ERRORS)
async def delete_consent(
    request: Request,
    consent: Number,
    caller: Asking,
    reason: Annotated[str, Query(max_length=500)] = "",
) -> ConsentDeleted:
    """Take a consent back, at once and everywhere."""
    service = service_of(request)
    caller.require("voices")
    receipts = await service.in_thread(service.keeper.take_back, consent, caller, reason)
    return ConsentDeleted(id=consent, receipts=[vars(each) for each in receipts])


def _answer(record: ConsentRecord) -> ConsentAnswer:
    expires = (record.verified or {}).get("expires")
    return ConsentAnswer(
        id=record.id,
        name=record.name,
        language=record.language,
        created_at=unix_seconds(record.created),
        challenge=record.challenge,
        is_verified=record.verified is not None,
        expires_at=unix_seconds(expires) if expires else None,
    )
