"""`POST /v1/watermark/detect`: was this sound made here, and what does its file say of itself?"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from kouji.errors import UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.payload import describe, read_body
from kouji.serve.routes.answers import CHANGE_ERRORS
from kouji.serve.service import Service

router = APIRouter(tags=["watermark"])
MAX_SECONDS = 600.0


class DetectBody(BaseModel):
    """A recording: a data URL, or a URL at an allowed host; in a form the file itself."""

    model_config = ConfigDict(extra="ignore")

    audio: Annotated[str | None, Field(max_length=100_000_000)] = None


class LabelsAnswer(BaseModel):
    """What the file claims; labels are easily removed, the mark is not."""

    is_ai_generated: bool
    aigc: dict[str, str]
    tags: dict[str, str]


class DetectAnswer(BaseModel):
    """What was found.

    id:    the mark's number in hexadecimal, as in labels, headers and audit lines; null where
           only its presence is certain
    score: how far the mark stands out; see docs/watermark.md
    speed: at which the sound plays, 1 as it was made
    audit: what this server wrote down under that number, for keys with the scope admin
    """

    found: bool
    number: int | None
    id: str | None
    score: float
    speed: float
    labels: LabelsAnswer
    audit: list[dict[str, Any]] | None


@router.post(
    "/v1/watermark/detect",
    responses=CHANGE_ERRORS,
    openapi_extra=describe(DetectBody, files=("audio",)),
)
@speaks
async def detect(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> DetectAnswer:
    """Look for the inaudible mark and the labels."""
    service = service_of(request)
    body, files = await read_body(request, DetectBody, service.references.max_bytes)
    recording = files.get("audio")
    if recording is None and body.audio is not None:
        recording = await service.references.read(body.audio)
    if not recording:
        raise UsageError("audio is missing or empty", cure="send an audio file")
    answer: DetectAnswer = await service.seated(caller, _examine, service, recording, caller)
    return answer


def _examine(service: Service, recording: bytes, caller: Caller) -> DetectAnswer:
    from kouji.voices.inspection import inspect

    audit_file = service.settings.audit_file if "admin" in caller.scopes else None
    inspection = inspect(recording, audit_file, max_seconds=MAX_SECONDS)
    found, lines = inspection.detection, inspection.audit
    return DetectAnswer(
        found=found.found,
        number=found.payload,
        id=inspection.id,
        score=round(float(found.score), 3),
        speed=found.speed,
        labels=LabelsAnswer(**vars(inspection.labels)),
        audit=None if lines is None or inspection.id is None else list(lines),
    )
