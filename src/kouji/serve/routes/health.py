"""Is it alive, may it be given work, and what has it done: probes and figures."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from kouji.serve.access import caller_of, service_of
from kouji.serve.caller import Caller
from kouji.serve.metrics import CONTENT_TYPE

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    """The process answers."""

    status: str


class Readiness(BaseModel):
    """ready, or why not: loading, failed, draining, full."""

    status: str


@router.head("/livez", include_in_schema=False)
@router.get("/livez")
async def livez() -> Alive:
    """The process answers; also while it loads, is full, or leaves."""
    return Alive(status="alive")


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Not now, and why"}},
)
async def readyz(request: Request) -> JSONResponse:
    """Models are warm and there is room; 503 otherwise."""
    state = service_of(request).state
    return JSONResponse({"status": state}, 200 if state == "ready" else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request, caller: Annotated[Caller, Depends(caller_of)]) -> Response:
    """Figures for Prometheus; where keys are needed, any key will do."""
    del caller
    # In a thread: some figures ask the driver of a graphics card.
    page = await asyncio.to_thread(service_of(request).metrics.page)
    return Response(page, media_type=CONTENT_TYPE)
