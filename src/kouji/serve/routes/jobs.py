"""Jobs over HTTP: hand in a file or lines, watch, pause, resume, cancel, fetch the result."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from kouji.errors import JobError
from kouji.jobs.job import JobInfo, JobLine, JobOptions
from kouji.serve.access import caller_of, service_of
from kouji.serve.archive import stream_zip
from kouji.serve.caller import Caller

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
Format = Literal["wav", "flac", "mp3", "opus", "aac", "pcm"]
Kind = Literal["text", "markdown", "epub", "srt", "vtt", "csv", "jsonl"]
Asking = Annotated[Caller, Depends(caller_of)]
JobId = Annotated[str, Field(max_length=100)]
MAX_SEED = (1 << 63) - 1
_MEDIA_TYPES = {
    ".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".opus": "audio/ogg",
    ".aac": "audio/aac", ".pcm": "audio/pcm", ".srt": "application/x-subrip",
    ".vtt": "text/vtt", ".json": "application/json", ".jsonl": "application/jsonl",
}  # fmt: skip


class LineBody(BaseModel):
    """One line of a job; what it does not say is the job's."""

    model_config = ConfigDict(extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=200)]
    text: Annotated[str, Field(max_length=100_000)]
    voice: Annotated[str | None, Field(max_length=200)] = None
    style: Annotated[str | None, Field(max_length=1000)] = None
    seed: Annotated[int | None, Field(ge=0, le=MAX_SEED)] = None
    language: Annotated[str | None, Field(max_length=20)] = None


class JobBody(BaseModel):
    """A job as JSON."""

    model_config = ConfigDict(extra="forbid")

    lines: Annotated[list[LineBody], Field(min_length=1, max_length=100_000)]
    name: Annotated[str, Field(min_length=1, max_length=200)] = "lines"
    voice: Annotated[str, Field(max_length=200)] = ""
    model: Annotated[str, Field(max_length=200)] = "default"
    style: Annotated[str | None, Field(max_length=1000)] = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    language: Annotated[str | None, Field(max_length=20)] = None
    format: Format = "wav"
    with_text: bool = False


@router.post("", status_code=202)
async def hand_in_file(
    request: Request,
    caller: Asking,
    file: Annotated[UploadFile, File()],
    voice: Annotated[str, Form(max_length=200)] = "",
    model: Annotated[str, Form(max_length=200)] = "default",
    style: Annotated[str | None, Form(max_length=1000)] = None,
    seed: Annotated[int, Form(ge=0, le=MAX_SEED)] = 0,
    language: Annotated[str | None, Form(max_length=20)] = None,
    format: Annotated[Format, Form()] = "wav",
    kind: Annotated[Kind | None, Form()] = None,
    with_text: Annotated[bool, Form()] = False,
) -> JSONResponse:
    """Speak a file: text, Markdown, EPUB, SRT, VTT, CSV or JSONL."""
    options = JobOptions(
        voice=voice, model=model, style=style, seed=seed, language=language, format=format,
        kind=kind, with_text=with_text,
    )  # fmt: skip
    caller.require("jobs")
    service = service_of(request)
    content = await file.read()
    name = Path(file.filename or "file.txt").name
    info = await service.in_thread(service.jobs.hand_in, name, content, options, caller)
    return JSONResponse(info.to_json(), 202)


@router.post("/lines", status_code=202)
async def hand_in_lines(request: Request, body: JobBody, caller: Asking) -> JSONResponse:
    """Speak lines given as JSON."""
    caller.require("jobs")
    service = service_of(request)
    asked = body.model_dump(exclude={"lines", "name"})
    lines = [
        JobLine(**line.model_dump(), where=f"line {number}")
        for number, line in enumerate(body.lines, 1)
    ]
    info = await service.in_thread(
        service.jobs.hand_in_lines, body.name, lines, JobOptions(**asked), caller
    )
    return JSONResponse(info.to_json(), 202)


@router.get("")
async def list_jobs(request: Request, caller: Asking) -> dict[str, Any]:
    """The caller's jobs, an admin's all jobs, the newest first."""
    caller.require("jobs")
    service = service_of(request)
    found = await service.in_thread(service.jobs.centre.list, _owner(caller))
    return {"object": "list", "data": [info.to_json() for info in found]}


@router.get("/{job_id}")
async def show(request: Request, job_id: JobId, caller: Asking) -> dict[str, Any]:
    """How a job stands."""
    return (await _get(request, job_id, caller)).to_json()


@router.get("/{job_id}/events", response_class=StreamingResponse)
async def events(request: Request, job_id: JobId, caller: Asking) -> StreamingResponse:
    """How the job stands now and after each change, as server-sent events, until it is over."""
    await _get(request, job_id, caller)
    watched = service_of(request).jobs.centre.watch(job_id)

    async def lines() -> AsyncIterator[str]:
        async with aclosing(watched) as changes:  # type: ignore[type-var]
            async for info in changes:
                yield f"event: job\ndata: {json.dumps(info.to_json(), ensure_ascii=False)}\n\n"

    return StreamingResponse(
        lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


@router.post("/{job_id}/{action}")
async def act(
    request: Request, job_id: JobId, action: Literal["pause", "resume", "cancel"], caller: Asking
) -> dict[str, Any]:
    """Pause, resume or cancel a job of one's own."""
    await _get(request, job_id, caller)
    service = service_of(request)
    info: JobInfo = await service.in_thread(getattr(service.jobs.centre, action), job_id)
    return info.to_json()


@router.delete("/{job_id}")
async def remove(request: Request, job_id: JobId, caller: Asking) -> dict[str, Any]:
    """Forget a job with its result."""
    await _get(request, job_id, caller)
    service = service_of(request)
    await service.in_thread(service.jobs.centre.remove, job_id)
    return {"id": job_id, "object": "job", "deleted": True}


@router.get("/{job_id}/result", response_class=StreamingResponse)
async def result(request: Request, job_id: JobId, caller: Asking) -> StreamingResponse:
    """Everything there is of the result, as one zip file."""
    await _get(request, job_id, caller)
    service = service_of(request)
    where = await service.in_thread(service.jobs.centre.result, job_id)
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.zip"'}
    return StreamingResponse(
        stream_zip(where.folder), media_type="application/zip", headers=headers
    )


@router.get("/{job_id}/result/{part}", response_class=FileResponse)
async def result_part(
    request: Request,
    job_id: JobId,
    part: Literal["audio", "manifest", "srt", "vtt", "json"],
    caller: Asking,
) -> Response:
    """The joined audio, the manifest, or the subtitles in one format."""
    await _get(request, job_id, caller)
    service = service_of(request)
    where = await service.in_thread(service.jobs.centre.result, job_id)
    single = {"audio": where.joined, "manifest": where.manifest}
    return _file(single[part] if part in single else where.subtitles.get(part))


@router.get("/{job_id}/result/lines/{file_name}", response_class=FileResponse)
async def result_line(
    request: Request,
    job_id: JobId,
    file_name: Annotated[str, Field(max_length=300)],
    caller: Asking,
) -> Response:
    """The audio of one line, by the file name its manifest entry gives."""
    await _get(request, job_id, caller)
    service = service_of(request)
    where = await service.in_thread(service.jobs.centre.result, job_id)
    names = {path.name: path for path in where.lines.iterdir()} if where.lines.is_dir() else {}
    return _file(names.get(Path(file_name).name))


def _file(path: Path | None) -> Response:
    if path is None or path.name.startswith(".") or not path.is_file():
        raise HTTPException(404, "this part of the result is not there (yet)")
    media_type = _MEDIA_TYPES.get(path.suffix, "application/octet-stream")
    marked = {"X-AI-Generated": "true"} if media_type.startswith("audio/") else {}
    return FileResponse(path, media_type=media_type, filename=path.name, headers=marked)


def _owner(caller: Caller) -> str | None:
    """Whose jobs a caller may see; None is everybody's."""
    return None if caller.may("admin") else caller.id


async def _get(request: Request, job_id: str, caller: Caller) -> JobInfo:
    """A job of the caller's; 404 for every other."""
    caller.require("jobs")
    service = service_of(request)
    try:
        info: JobInfo = await service.in_thread(service.jobs.centre.get, job_id, _owner(caller))
    except JobError as error:
        raise HTTPException(404, "no such job") from error
    return info
