"""What the page's boards show and do: jobs, training runs, the load; JSON for our own script."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from kouji.errors import JobError
from kouji.jobs.job import JobInfo
from kouji.serve.access import service_of
from kouji.serve.caller import Caller
from kouji.serve.service import Service
from kouji.serve.ui.load import load_now
from kouji.serve.ui.runs import Runs
from kouji.serve.ui.sounds import Asking, Asks

router = APIRouter(prefix="/studio", include_in_schema=False)
_NO_STORE = {"Cache-Control": "no-store"}


@router.get("/jobs")
async def list_jobs(request: Request, asks: Asks) -> JSONResponse:
    """The caller's jobs, an admin's all jobs, the newest first."""
    asks.caller.require("jobs")
    service = service_of(request)
    infos = await service.in_thread(lambda: service.jobs.centre.list(_owner(asks.caller)))
    return JSONResponse([info.to_json() for info in infos], headers=_NO_STORE)


@router.post("/jobs/{job_id}/{action}")
async def act(
    request: Request, job_id: str, action: Literal["pause", "resume", "cancel", "remove"],
    asks: Asks,
) -> JSONResponse:  # fmt: skip
    """Pause, resume, cancel or forget a job of one's own."""
    service = service_of(request)
    await _job(service, job_id, asks)
    await service.in_thread(getattr(service.jobs.centre, action), job_id)
    return JSONResponse({}, headers=_NO_STORE)


@router.get("/jobs/{job_id}/files/{kind}")
async def job_file(request: Request, job_id: str, kind: str, asks: Asks) -> Response:
    """The joined sound, the manifest, or subtitles of a job."""
    service = service_of(request)
    info = await _job(service, job_id, asks)
    path = await service.in_thread(_result_file, service, job_id, kind)
    name = f"{Path(info.name).stem}{path.suffix}"
    headers = {"X-AI-Generated": "true"} if kind == "joined" else {}
    return FileResponse(path, filename=name, headers=headers)


@router.get("/runs")
async def list_runs(request: Request, asks: Asks) -> JSONResponse:
    """All training runs, the newest first."""
    runs = _runs(request, asks)
    infos = await service_of(request).in_thread(runs.all)
    return JSONResponse([asdict(info) for info in infos], headers=_NO_STORE)


@router.get("/runs/{name}")
async def run_details(request: Request, name: str, asks: Asks) -> JSONResponse:
    """Curves and output of a run."""
    runs = _runs(request, asks)
    details = await service_of(request).in_thread(runs.details, name)
    return JSONResponse(details, headers=_NO_STORE)


@router.post("/runs/{name}/stop")
async def stop_run(request: Request, name: str, asks: Asks) -> JSONResponse:
    """Ask a run to save and end."""
    runs = _runs(request, asks)
    await service_of(request).in_thread(runs.stop, name)
    return JSONResponse({}, headers=_NO_STORE)


@router.get("/system")
async def system(request: Request, asks: Asks) -> JSONResponse:
    """How much the server has to do at this moment."""
    del asks
    service = service_of(request)
    return JSONResponse(await service.in_thread(load_now, service), headers=_NO_STORE)


def _runs(request: Request, asks: Asking) -> Runs:
    asks.caller.require("admin")
    runs: Runs = request.app.state.studio_runs
    return runs


def _owner(caller: Caller) -> str | None:
    return None if caller.may("admin") else caller.id


async def _job(service: Service, job_id: str, asks: Asking) -> JobInfo:
    asks.caller.require("jobs")
    info: JobInfo = await service.in_thread(
        lambda: service.jobs.centre.get(job_id, _owner(asks.caller))
    )
    return info


def _result_file(service: Service, job_id: str, kind: str) -> Path:
    result = service.jobs.centre.result(job_id)
    files: dict[str, Path | None] = {"joined": result.joined, "manifest": result.manifest}
    path = (files | dict(result.subtitles)).get(kind)
    if path is None or not path.is_file():
        raise JobError("this job has no such file yet")
    return path
