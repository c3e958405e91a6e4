"""The app: routes of every dialect around one service, errors as answers, nothing else.

What stands around each request (ids, limits, logs) is pure ASGI in `around`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

import kouji
from kouji.errors import KoujiError
from kouji.serve.problems import RESPONSES, Problem, problem_of
from kouji.serve.routes import health, openai_speech
from kouji.serve.service import Service

CLIENT_LEFT = 499  # nobody reads it; it names the end in logs and figures


def create_app(service: Service) -> FastAPI:
    """Everything a server answers; the app owns the service and ends it."""

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.ensure_future(service.start())
        try:
            yield
        finally:
            loading.cancel()
            with suppress(asyncio.CancelledError, KoujiError):
                await loading
            await service.close()

    app = FastAPI(title="Kouji", version=kouji.__version__, lifespan=life, responses=RESPONSES)
    app.state.service = service
    for module in (health, openai_speech):
        app.include_router(module.router)
    app.add_exception_handler(KoujiError, _kouji_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _left)
    return app


def answer(problem: Problem) -> JSONResponse:
    """A problem in OpenAI's shape."""
    return JSONResponse(problem.body(), problem.status, problem.headers())


async def _kouji_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, KoujiError)
    return answer(problem_of(error))


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part not in ("body", "query"))
    message = f"{place or 'the request'}: {first['msg']}"
    return answer(Problem(400, "invalid_request_error", "invalid_value", message, place or None))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    problem = Problem(
        error.status_code,
        "invalid_request_error",
        codes.get(error.status_code, "invalid_request"),
        str(error.detail),
    )
    response = answer(problem)
    response.headers.update(error.headers or {})
    return response


async def _left(_: Request, error: Exception) -> Response:
    del error
    return Response(status_code=CLIENT_LEFT)
