"""The app: routes of every dialect around one service, errors as answers, nothing else.

What stands around each request is pure ASGI, from the outside in: `around` (ids, log), CORS where
the operator wants it, `door` (who may come in), `bodies` (limits).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request

import kouji
from kouji.errors import KoujiError
from kouji.serve.around import CLIENT_LEFT, Around
from kouji.serve.bodies import Bodies
from kouji.serve.door import Door, RouteTable
from kouji.serve.flights import Flights
from kouji.serve.origins import listed
from kouji.serve.problems import RESPONSES, Problem, problem_of
from kouji.serve.quotas import FLUSH_SECONDS
from kouji.serve.record import current
from kouji.serve.routes import (
    batch,
    classifications,
    consents,
    conversions,
    cosyvoice,
    gpt_sovits,
    health,
    jobs,
    models,
    openai_speech,
    predict,
    speech_socket,
    voices,
    watermark,
)
from kouji.serve.service import Service
from kouji.serve.shapes import shape

DIALECTS = (
    health,
    openai_speech,
    speech_socket,
    batch,
    conversions,
    classifications,
    watermark,
    models,
    voices,
    consents,
    jobs,
    gpt_sovits,
    cosyvoice,
    predict,
)
_CORS_EXPOSED = ("X-Request-Id", "Retry-After", "X-AI-Generated", "X-Kouji-Watermark",
                 "X-Kouji-Model", "X-Kouji-Model-Substitute", "X-Kouji-Voice", "X-Kouji-Seed",
                 "X-Kouji-Warnings")  # fmt: skip
_DAY_SECONDS = 86400


def create_app(service: Service) -> FastAPI:
    """Everything a server answers; the app owns the service and ends it."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        loading = app.state.loading = asyncio.ensure_future(service.start())
        writing = asyncio.ensure_future(_write_quotas(service))
        try:
            yield
        finally:
            for task in (loading, writing):
                task.cancel()
                with suppress(asyncio.CancelledError, KoujiError):
                    await task
            await service.close()

    app = FastAPI(
        title="Kouji",
        version=kouji.__version__,
        lifespan=life,
        responses=RESPONSES,
        docs_url=None,  # their pages load scripts from elsewhere; /openapi.json is ours
        redoc_url=None,
    )
    app.state.service, app.state.flights = service, Flights()
    for module in DIALECTS:
        app.include_router(module.router)
    _surround(app, service)
    app.add_exception_handler(KoujiError, _kouji_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _left)
    if service.settings.studio:
        from kouji.serve.ui.mount import mount_studio  # Gradio takes seconds to import

        mount_studio(app, service)
    return app


def _surround(app: FastAPI, service: Service) -> None:
    """Put the layers around the routes; the last one added is the outermost."""
    routes = RouteTable(route for module in DIALECTS for route in module.router.routes)
    app.add_middleware(Bodies, settings=service.settings)
    app.add_middleware(Door, service=service, routes=routes, flights=app.state.flights)
    if origins := listed(service.settings.cors_origins):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Api-Key", "X-Request-Id"],
            expose_headers=list(_CORS_EXPOSED),
            max_age=_DAY_SECONDS,
        )
    app.add_middleware(Around, metrics=service.metrics, log_text=service.settings.log_text)


async def _write_quotas(service: Service) -> None:
    """Write what keys have used up now and then, for as long as the server runs."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        await service.in_thread(service.admission.quotas.flush)


def answer(request: Request, problem: Problem) -> JSONResponse:
    """A problem in the shape of the dialect that was spoken."""
    status, body = shape(request.scope, problem)
    current().failed(status, problem.code)
    return JSONResponse(body, status, problem.headers())


async def _kouji_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, KoujiError)
    return answer(request, problem_of(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":  # its place is a number of characters
        first = {"loc": (), "msg": "the body is no JSON"}
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    message = f"{place or 'the request'}: {first['msg']}"
    problem = Problem(400, "invalid_request_error", "invalid_value", message, place or None)
    return answer(request, problem)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    problem = Problem(
        error.status_code,
        "invalid_request_error",
        codes.get(error.status_code, "invalid_request"),
        str(error.detail),
    )
    response = answer(request, problem)
    response.headers.update(error.headers or {})
    return response


async def _left(_: Request, error: Exception) -> Response:
    del error
    return Response(status_code=CLIENT_LEFT)
