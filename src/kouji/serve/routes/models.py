"""OpenAI's dialect: `GET /v1/models`, what is loaded and the names it also answers to.

Those that speak come first; `task` tells them from what classifies sounds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel

from kouji.errors import ModelError
from kouji.serve.access import caller_of, service_of
from kouji.serve.caller import Caller
from kouji.serve.models import ALIASES
from kouji.serve.routes.answers import READ_ERRORS
from kouji.serve.service import Service

router = APIRouter(prefix="/v1/models", tags=["openai"], responses=READ_ERRORS)
_RELEASED = 1_767_225_600  # 2026-01-01: clients want a number, and nothing hangs on it
Asking = Annotated[Caller, Depends(caller_of)]


class ModelAnswer(BaseModel):
    """A model; `root` is the loaded one that answers to the name, `task` what it is for."""

    id: str
    object: Literal["model"] = "model"
    created: int = _RELEASED
    owned_by: str = "kouji"
    root: str
    task: Literal["speech", "classification"] = "speech"


class ModelList(BaseModel):
    """All of them, the default first and what classifies last."""

    object: Literal["list"] = "list"
    data: list[ModelAnswer]


@router.get("")
async def list_models(request: Request, caller: Asking) -> ModelList:
    """The models a request may name."""
    del caller
    return ModelList(data=_answers(service_of(request)))


@router.get("/{model}")
async def get_model(
    request: Request, model: Annotated[str, Path(max_length=200)], caller: Asking
) -> ModelAnswer:
    """One model by its name."""
    del caller
    found = _answers(service_of(request))
    for answer in found:
        if answer.id == model:
            return answer
    raise ModelError("unknown model", seen=model, allowed=", ".join(each.id for each in found))


def _answers(service: Service) -> list[ModelAnswer]:
    pool = service.models
    loaded = [ModelAnswer(id=name, root=name) for name in pool.names]
    others = [name for name in ALIASES if name and name not in pool.names]
    spoken = loaded + [ModelAnswer(id=name, root=pool.default) for name in others]
    if (name := service.hearing.name) is None:
        return spoken
    return [*spoken, ModelAnswer(id=name, root=name, task="classification")]
