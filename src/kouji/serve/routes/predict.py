"""`POST /api/predict`, the form of web pages for CosyVoice: a list in, an address out.

`{"data": [mode, recording or null, text, instruction]}` is answered by `{"data": [url, note]}`;
the sound lies at the address for an hour, and whoever has the address may fetch it.
"""

from __future__ import annotations

import time
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from kouji.errors import UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.leaving import while_connected
from kouji.serve.predict_audio import read_audio
from kouji.serve.prompts import read_instruct, read_text
from kouji.serve.service import Service, SpeakCall
from kouji.serve.shapes import PredictError, described
from kouji.serve.shelf import Shelf, parse_range
from kouji.serve.utterance import Facts

FAMILY = "cosyvoice"
_CLONE, _INSTRUCT, _PRESET, _CROSS = "clone", "instruct", "preset", "cross"
# Pages name their modes in many ways: the first of these words that a name holds decides, the
# name written small and without spaces, hyphens and underscores.
_MODE_WORDS = (
    (_CROSS, ("跨语种", "crosslingual")),
    (_INSTRUCT, ("自然语言", "naturallanguage", "instruct")),
    (_PRESET, ("预训练", "pretrained", "preset", "sft")),
    (_CLONE, ("复刻", "克隆", "cloning", "clone", "zeroshot", "3s")),
)
_LONGEST_MODE = 60
_NUM_VALUES = 4
_MAX_MANNER = 2000

router = APIRouter(tags=["predict"], responses=described(PredictError), strict_content_type=False)
Asking = Annotated[Caller, Depends(caller_of)]
_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"audio/wav": {}}, "description": "The sound"},
    206: {"content": {"audio/wav": {}}, "description": "A part of it"},
    416: {"model": PredictError, "description": "There is no such part"},
}


class PredictBody(BaseModel):
    """Mode, recording, text, instruction; what follows is passed over."""

    data: Annotated[list[Any], Field(min_length=1, max_length=64)]


class Predicted(BaseModel):
    """data: the address of the sound, and what there is to say about it; duration: of the work."""

    data: list[str]
    is_generating: bool = False
    duration: float


@router.post("/api/predict", response_model=Predicted)
@router.post("/api/predict/", response_model=Predicted)
@speaks
async def predict(
    request: Request, body: PredictBody, caller: Asking, strict: Annotated[bool, Query()] = False
) -> Response:
    """Speak, and say where the sound is to be fetched."""
    began = time.monotonic()
    service = service_of(request)
    content, facts = await while_connected(
        request, _speak(service, body.data, caller, strict=strict)
    )
    headers = facts.headers()
    name = _shelf(request).put(content, "audio/wav", headers)
    answer = Predicted(
        data=[address_of(request, name), "; ".join(facts.warnings)],
        duration=round(time.monotonic() - began, 3),
    )
    return JSONResponse(answer.model_dump(), headers=headers)


@router.head("/api/predict/files/{name}", include_in_schema=False)
@router.get("/api/predict/files/{name}", response_class=Response, responses=_FILE)
async def predicted_file(request: Request, name: str) -> Response:
    """A sound that was made; its address is the key to it."""
    kept = _shelf(request).get(name.removesuffix(".wav"))
    if kept is None:
        return JSONResponse({"error": "there is no such sound, or no longer"}, 404)
    headers = {**kept.headers, "Accept-Ranges": "bytes", "Cache-Control": "private, no-store"}
    size = len(kept.content)
    part = parse_range(request.headers.get("range", ""), size)
    if part is None:
        return Response(kept.content, 200, headers, kept.media_type)
    if not part:
        headers["Content-Range"] = f"bytes */{size}"
        return JSONResponse({"error": "there is no such part"}, 416, headers)
    headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
    return Response(kept.content[part.start : part.stop], 206, headers, kept.media_type)


async def _speak(
    service: Service, data: list[Any], caller: Caller, *, strict: bool
) -> tuple[bytes, Facts]:
    """The sound as a file, with its facts."""
    call = await _read(service, data, caller, strict=strict)
    utterance = await service.speak(call, caller)
    return await utterance.file("wav"), utterance.facts


async def _read(service: Service, data: list[Any], caller: Caller, *, strict: bool) -> SpeakCall:
    """The list as a call; UsageError for what cannot be understood."""
    given = [*data, *[None] * (_NUM_VALUES - len(data))]
    mode, text, manner = _mode(given[0]), _words(given, 2, "text"), _words(given, 3, "instruct")
    if not text.strip():
        raise UsageError(
            "data[2], the text, is empty", cure="send [mode, recording, text, instruct]"
        )
    service.check_text(text)
    if len(manner) > _MAX_MANNER:
        raise UsageError("data[3] is too long", allowed=f"{_MAX_MANNER} characters")
    caller.require("speak")
    service.gate.check(caller.id)
    warnings: tuple[str, ...] = ()
    if len(data) > _NUM_VALUES:
        warnings += (f"{len(data) - _NUM_VALUES} further values were passed over",)
    if manner.strip() and mode != _INSTRUCT:
        warnings += ("an instruction counts in the mode 自然语言控制 only",)
        manner = ""
    spoken = read_text(text)
    style = " ".join(filter(None, (read_instruct(manner), spoken.manner)))
    return SpeakCall(
        spoken.text,
        await read_audio(service, given[1], caller),
        model=service.models.substitute(FAMILY, strict=strict),
        style=style or None,
        is_style_strict=False,
        language=spoken.language,
        in_chunks=False,
        warnings=warnings,
    )


def _mode(value: object) -> str:
    written = value.lower() if isinstance(value, str) and len(value) <= _LONGEST_MODE else ""
    name = "".join(written.replace("-", "").replace("_", "").split())
    found = (mode for mode, words in _MODE_WORDS if any(word in name for word in words))
    mode = next(found, None)
    if mode is None:
        allowed = "3s极速复刻 (3s fast cloning), 自然语言控制 (natural language control)"
        raise UsageError("data[0] is no mode", seen=repr(value)[:40], allowed=allowed)
    return mode


def _words(given: list[Any], index: int, what: str) -> str:
    value = given[index]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"data[{index}], the {what}, is no text", seen=type(value).__name__)
    return value


def address_of(request: Request, name: str) -> str:
    """Where the caller fetches it: the host that was asked, below the same root."""
    root = request.scope.get("root_path", "").rstrip("/")
    path = f"{root}/api/predict/files/{quote(name)}.wav"
    host = request.headers.get("host", "")
    return f"{request.scope['scheme']}://{host}{path}" if host else path


def _shelf(request: Request) -> Shelf:
    """That of this server."""
    state = request.app.state
    if not hasattr(state, "shelf"):
        state.shelf = Shelf()
    shelf: Shelf = state.shelf
    return shelf
