"""`POST /v1/audio/speech/batch`: several speeches in one request, answered as they finish.

The answer is JSON lines, one for each speech in the order they are done; `index` tells which.
A speech that fails does so alone, on its own line.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from kouji.errors import KoujiError, UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.payload import checked, describe, read_json
from kouji.serve.problems import problem_of
from kouji.serve.routes.answers import SPEECH_ERRORS
from kouji.serve.routes.speech_body import SpeechBody, speak_call
from kouji.serve.routes.speech_events import whole_as_json
from kouji.serve.service import Service

router = APIRouter(tags=["speech"])
MAX_SPEECHES = 64
MEDIA_TYPE = "application/x-ndjson"


class BatchItem(SpeechBody):
    """A speech of a batch; `id` comes back with it."""

    id: Annotated[str | None, Field(max_length=200)] = None


class BatchBody(BaseModel):
    """Speeches, each with a voice, style, seed and format of its own; judged one by one."""

    model_config = ConfigDict(extra="forbid")

    requests: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_SPEECHES)]


@router.post(
    "/v1/audio/speech/batch",
    response_class=Response,
    responses={
        200: {"description": "A JSON object a line.",
              "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}},
        **SPEECH_ERRORS,
    },
    openapi_extra=describe(BatchBody),
)  # fmt: skip
@speaks
async def batch(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> Response:
    """Speak several texts."""
    caller.require("speak")
    body = await read_json(request, BatchBody)
    lines = _lines(service_of(request), body.requests, caller)
    return StreamingResponse(lines, media_type=MEDIA_TYPE, headers={"X-AI-Generated": "true"})


async def _lines(
    service: Service, items: list[dict[str, Any]], caller: Caller
) -> AsyncIterator[str]:
    """A line for each speech; at most half the seats are taken, so that others get theirs."""
    room = asyncio.Semaphore(max(1, service.gate.seats // 2))

    async def one(index: int, item: dict[str, Any]) -> dict[str, Any]:
        async with room:
            return {"index": index, **await _speak(service, item, caller)}

    tasks = [asyncio.ensure_future(one(index, item)) for index, item in enumerate(items)]
    try:
        for next_done in asyncio.as_completed(tasks):
            yield json.dumps(await next_done, ensure_ascii=False) + "\n"
    finally:
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _speak(service: Service, item: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """One speech, or its error in the same shape as elsewhere."""
    named = {"id": item["id"]} if isinstance(item.get("id"), str) else {}
    try:
        body = _checked(item)
        call = await speak_call(service, body, caller, in_chunks=False)
        content, status, headers = await whole_as_json(service, call, caller, body)
    except KoujiError as error:
        problem = problem_of(error)
        after = {} if problem.retry_after is None else {"retry_after": problem.retry_after}
        return {**named, "status": problem.status, **problem.body(), **after}
    return {**named, "status": status, "watermark": headers["X-Kouji-Watermark"], **content}


def _checked(item: dict[str, Any]) -> BatchItem:
    if item.get("stream_format") is not None:
        raise UsageError("a speech of a batch has no stream_format", cure="leave it out")
    try:
        return checked(BatchItem, json.dumps(item))
    except RequestValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{place}: {first['msg']}") from error
