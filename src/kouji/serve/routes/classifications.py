"""`POST /v1/audio/classifications`: what is heard in a sound, as a whole and over time.

A form with the sound as OpenAI's audio routes take one, or JSON with a data URL. The answer is
JSON, the likeliest class as plain text, or events while windows are heard; docs/api.md has every
field.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from kouji.classification import Classification
from kouji.errors import KoujiError, UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.heard import USUAL_CLASSES, whole_values, window_values, windows_values
from kouji.serve.hearing import ClassifyCall, Listener
from kouji.serve.leaving import ClosingResponse, while_connected
from kouji.serve.payload import Files, describe, read_body
from kouji.serve.problems import problem_of
from kouji.serve.routes.answers import SPEECH_ERRORS, UNBUFFERED, Answers
from kouji.serve.service import Service

router = APIRouter(tags=["openai"])
Format = Literal["json", "verbose_json", "text"]
MOST_CLASSES = 10_000


class ClassificationBody(BaseModel):
    """The form's file `file`; in JSON `file` is a data URL, or a URL at a host the operator
    allows. `audio` is another name for it."""

    model_config = ConfigDict(extra="forbid")

    file: Annotated[str | None, Field(max_length=100_000_000)] = None
    audio: Annotated[str | None, Field(max_length=100_000_000)] = None
    model: Annotated[str, Field(max_length=200)] = "default"
    top: Annotated[int | None, Field(ge=1, le=MOST_CLASSES)] = None
    hop_seconds: Annotated[float | None, Field(gt=0, le=3600, allow_inf_nan=False)] = None
    windows: bool = True
    response_format: Format = "json"
    stream: bool = False


class ClassProbability(BaseModel):
    """A class and how likely it is, from 0 to 1."""

    label: str
    probability: float


class WindowAnswer(BaseModel):
    """What is heard from `start` to `end`, in seconds; the likeliest class first."""

    start: float
    end: float
    probabilities: list[ClassProbability]


class ClassificationAnswer(BaseModel):
    """What is heard in a sound.

    label:         the likeliest class of the whole sound
    probabilities: of the whole sound, the likeliest class first
    windows:       the same over time; null where they were not asked for
    duration:      of the sound, in seconds
    """

    object: Literal["audio.classification"] = "audio.classification"
    model: str
    label: str
    probabilities: list[ClassProbability]
    windows: list[WindowAnswer] | None
    duration: float
    warnings: list[str]
    labels: list[str] | None = None
    window_seconds: float | None = None
    hop_seconds: float | None = None


_ANSWERS: Answers = {
    200: {
        "model": ClassificationAnswer,
        "description": "What is heard; with `stream` as events, with `text` the likeliest class.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }
}


@router.post(
    "/v1/audio/classifications",
    response_class=Response,
    responses={**_ANSWERS, **SPEECH_ERRORS},
    openapi_extra=describe(ClassificationBody, files=("file",)),
)
@speaks
async def classify(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> Response:
    """Say what is heard in a sound."""
    service = service_of(request)
    caller.require("classify")
    body, files = await read_body(request, ClassificationBody, service.references.max_bytes)
    if body.stream and body.response_format == "text":
        raise UsageError(
            "events cannot be plain text", seen="stream with response_format text",
            allowed="json or verbose_json",
        )  # fmt: skip
    count = _count(body, service.hearing.labels(body.model))
    opening = _open(service, body, files, caller)
    listener = await while_connected(request, opening)
    try:
        headers = {"X-Kouji-Model": quote(listener.name)}
        if body.stream:
            told = _events(listener, body, count)
            return ClosingResponse(listener, told, "text/event-stream", {**UNBUFFERED, **headers})
        found = await while_connected(request, listener.whole())
    except BaseException:
        listener.close()
        raise
    if body.response_format == "text":
        return PlainTextResponse(found.label + "\n", headers=headers)
    return JSONResponse(_answer(listener, found, body, count), headers=headers)


async def _open(
    service: Service, body: ClassificationBody, files: Files, caller: Caller
) -> Listener:
    recording = files.get("file") or files.get("audio")
    named = body.file or body.audio
    if recording is None and named:
        recording = await service.references.read(named)
    if not recording:
        raise UsageError("file is missing or empty", cure="send the sound to be classified")
    call = ClassifyCall(recording, model=body.model, hop_seconds=body.hop_seconds)
    return await service.hearing.listen(call, caller)


def _count(body: ClassificationBody, labels: tuple[str, ...]) -> int:
    """How many classes are told of."""
    num_classes = len(labels)
    if body.top is not None and body.top > num_classes:
        raise UsageError("top is too large", seen=body.top, allowed=f"1 to {num_classes}")
    if body.response_format == "verbose_json":
        return body.top or num_classes
    return body.top or min(USUAL_CLASSES, num_classes)


def _answer(
    listener: Listener, found: Classification, body: ClassificationBody, count: int
) -> dict[str, Any]:
    windows = windows_values(found, count) if body.windows else None
    values = {**whole_values(found, listener.name, count), "windows": windows}
    if body.response_format == "verbose_json":
        values |= {
            "labels": list(listener.labels),
            "window_seconds": listener.window_seconds,
            "hop_seconds": listener.hop_seconds,
        }
    return values


async def _events(listener: Listener, body: ClassificationBody, count: int) -> AsyncIterator[str]:
    """A window as soon as it was heard, then the whole; an error on the way is the last event."""
    try:
        async with aclosing(listener.windows()) as windows:  # type: ignore[type-var]
            async for window in windows:
                if body.windows:
                    values = window_values(listener.labels, window, count)
                    yield _event("audio.classification.window", **values)
    except KoujiError as error:
        yield _event("error", **problem_of(error).body())
        return
    done = _answer(listener, listener.summary(), body, count)
    yield _event("audio.classification.done", **{**done, "windows": None})


def _event(kind: str, **facts: Any) -> str:
    return f"data: {json.dumps({'type': kind, **facts}, ensure_ascii=False)}\n\n"
