"""The body of an error as each dialect's clients expect it, told by the path that was asked.

GPT-SoVITS says `message`, and `Exception` where speaking itself failed; CosyVoice's runtime says
`detail` as FastAPI does; `/api/predict` says `error` as Gradio does; everybody else is answered
in OpenAI's shape.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field
from starlette.types import Scope

from kouji.serve.problems import Problem

_GPT_SOVITS = ("/tts", "/set_gpt_weights", "/set_sovits_weights", "/set_refer_audio", "/control")
# What is told of the request itself; all else went wrong while speaking.
_PLAIN_CODES = ("invalid_value", "model_not_found", "not_found", "method_not_allowed", "too_large")
_OF_CALLERS = (401, 403, 408, 413, 429, 500, 503)  # kept as they are: clients wait or give up

Responses = dict[int | str, dict[str, Any]]


class GptSovitsError(BaseModel):
    """An error of `api_v2`."""

    message: str
    exception: str | None = Field(None, alias="Exception")


class CosyVoiceField(BaseModel):
    """One field that is wrong."""

    loc: list[str]
    msg: str
    type: str


class CosyVoiceError(BaseModel):
    """An error of CosyVoice's runtime."""

    detail: str | list[CosyVoiceField]


class PredictError(BaseModel):
    """An error of `/api/predict`."""

    error: str


def shape(scope: Scope, problem: Problem) -> tuple[int, dict[str, Any]]:
    """Status and body of a problem for whoever asked."""
    path = scope.get("path", "").removeprefix(scope.get("root_path", "").rstrip("/"))
    if path in _GPT_SOVITS:
        return _gpt_sovits(path, problem)
    if path.startswith("/inference_"):
        return _cosyvoice(problem)
    if path == "/api/predict" or path.startswith("/api/predict/"):
        return problem.status, {"error": problem.message}
    return problem.status, problem.body()


def _gpt_sovits(path: str, problem: Problem) -> tuple[int, dict[str, Any]]:
    is_missing_model = problem.code in ("model_not_found", "not_found", "method_not_allowed")
    is_kept = is_missing_model or problem.status in _OF_CALLERS
    is_plain = problem.code in _PLAIN_CODES or problem.status in (401, 408, 429, 503)
    status = problem.status if is_kept else 400
    if is_plain or path != "/tts":
        return status, {"message": problem.message}
    return status, {"message": "tts failed", "Exception": problem.message}


def _cosyvoice(problem: Problem) -> tuple[int, dict[str, Any]]:
    if problem.param is None:
        return problem.status, {"detail": problem.message}
    field = {"loc": ["body", problem.param], "msg": problem.message, "type": problem.code}
    return 422, {"detail": [field]}


def described(model: type[BaseModel], *statuses: int) -> Responses:
    """These errors of a dialect, for the OpenAPI description."""
    everyone = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 503)
    return {status: {"model": model} for status in statuses or everyone}
