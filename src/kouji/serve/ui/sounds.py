"""Sounds over HTTP, for the page that asked for them: takes while they are made, files, pictures.

Every answer belongs to the session in the cookie; a take of another session does not exist.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from kouji.serve.access import service_of
from kouji.serve.caller import Caller
from kouji.serve.ui.example import example_wav
from kouji.serve.ui.messages import message_of, warning_of
from kouji.serve.ui.picture import spectrogram_png
from kouji.serve.ui.ranges import ranged
from kouji.serve.ui.sessions import Session, Sessions
from kouji.serve.ui.takes import Take
from kouji.serve.ui.words import language_of
from kouji.subtitles import to_json, to_srt, to_vtt

router = APIRouter(prefix="/studio", include_in_schema=False)
MEDIA_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
}
_SUBTITLES = {"srt": ("application/x-subrip", to_srt), "vtt": ("text/vtt", to_vtt),
              "json": ("application/json", to_json)}  # fmt: skip
_STATIC = Path(__file__).with_name("static")
_STATIC_FILES = {"studio.css": "text/css", "studio.js": "text/javascript",
                 "boards.js": "text/javascript", "sounds.js": "text/javascript"}  # fmt: skip


class Asking(NamedTuple):
    """Who asks, and in which language."""

    session: Session
    caller: Caller
    language: str


async def asking(request: Request) -> Asking:
    """The session of a request; NotAuthenticated without one."""
    sessions: Sessions = request.app.state.studio_sessions
    cookies = request.headers.get("cookie")
    session, caller = sessions.enter(cookies)
    return Asking(session, caller, language_of(cookies, request.headers.get("accept-language")))


Asks = Annotated[Asking, Depends(asking)]


def _take(asks: Asks, take_id: str) -> Take:
    take = asks.session.takes.get(take_id)
    if take is None:
        raise HTTPException(404, "no such take")
    return take


Taken = Annotated[Take, Depends(_take)]


@router.get("/static/{name}")
async def static(name: str) -> Response:
    """The studio's own script and style; for everybody, the form for a key needs it too."""
    if name not in _STATIC_FILES:
        raise HTTPException(404, "no such file")
    headers = {"Cache-Control": "no-cache"}
    return FileResponse(_STATIC / name, media_type=_STATIC_FILES[name], headers=headers)


@router.get("/example.wav")
async def example(request: Request, asks: Asks) -> Response:
    """The sound the tab Sounds offers for a first try."""
    del asks
    data = await service_of(request).in_thread(example_wav)
    headers = {"Cache-Control": "private, max-age=3600"}
    return ranged(data, "audio/wav", request.headers.get("range"), headers)


@router.get("/takes")
async def history(asks: Asks) -> JSONResponse:
    """What this browser has spoken, the newest first."""
    takes = reversed(asks.session.takes.values())
    return _fresh([_outline(take) for take in takes])


@router.get("/takes/{take_id}/news")
async def news(take: Taken, asks: Asks, since: int = 0) -> JSONResponse:
    """What is new in a take after so many pieces; waits for it. The end sums it up."""
    num_pieces, words, peaks = await take.news(since)
    values = _outline(take) | {
        "next": num_pieces,
        "peaks": peaks,
        "words": [[each.text, round(each.start, 3), round(each.end, 3)] for each in words],
    }
    return _fresh(values if take.state == "speaking" else values | _end(take, asks.language))


@router.get("/takes/{take_id}/stream.wav")
async def stream(take: Taken) -> StreamingResponse:
    """The sound from its beginning while it is made."""
    headers = take.facts.headers() | {"Cache-Control": "no-store"}
    return StreamingResponse(take.stream("wav"), media_type="audio/wav", headers=headers)


@router.get("/takes/{take_id}/sound.{format}")
async def sound(
    request: Request, take: Taken, format: Literal["wav", "mp3", "flac", "opus", "aac"]
) -> Response:
    """The sound as one file with its labels; parts of it where a player seeks."""
    data = await take.file(format)
    headers = take.facts.headers() | {
        "Content-Disposition": f'inline; filename="kouji-{take.id}.{format}"',
        "Cache-Control": "private, max-age=3600",
    }
    return ranged(data, MEDIA_TYPES[format], request.headers.get("range"), headers)


@router.get("/takes/{take_id}/subtitles.{format}")
async def subtitles(take: Taken, format: Literal["srt", "vtt", "json"]) -> Response:
    """The words with their times."""
    await take.ended()
    media_type, render = _SUBTITLES[format]
    text = render(take.words, take.phones, take.text)
    headers = {"Content-Disposition": f'attachment; filename="kouji-{take.id}.{format}"'}
    return Response(text, media_type=media_type, headers=headers)


@router.get("/takes/{take_id}/spectrogram.png")
async def spectrogram(request: Request, take: Taken) -> Response:
    """The sound as a picture."""
    await take.ended()
    data = await service_of(request).in_thread(spectrogram_png, take.audio)
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(data, media_type="image/png", headers=headers)


def _outline(take: Take) -> dict[str, Any]:
    return {
        "id": take.id,
        "text": take.text[:200],
        "voice": take.facts.voice,
        "model": take.facts.model,
        "seed": take.facts.seed,
        "state": take.state,
        "seconds": round(take.seconds, 3),
        "created": take.created,
    }


def _end(take: Take, language: str) -> dict[str, Any]:
    return {
        "message": message_of(take.error, language) if take.error else None,
        "warnings": [warning_of(each, language) for each in dict.fromkeys(take.warnings)],
        "work_seconds": round(take.work_seconds, 3),
        "watermark": f"{take.facts.produce_id:08x}",
    }


def _fresh(values: Any) -> JSONResponse:
    return JSONResponse(values, headers={"Cache-Control": "no-store"})
