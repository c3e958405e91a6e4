"""What several routes answer alike: media types, error bodies and their statuses for OpenAPI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the second is nginx's


class ErrorFacts(BaseModel):
    """What went wrong; `code` is stable, the message may change."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorFacts


_MEANINGS = {
    400: "The request is wrong.",
    401: "No key, or not a valid one.",
    403: "The key may not do this, or there is no consent for it.",
    404: "No such voice, model or object.",
    408: "The body did not come in time.",
    409: "It exists already, or cannot be used as it is.",
    413: "Larger than the operator allows.",
    429: "The key has used up what it may use.",
    500: "The engine failed.",
    503: "Too much to do, or not ready; come again after Retry-After.",
}
Answers = dict[int | str, dict[str, Any]]


def errors(*statuses: int) -> Answers:
    """The `responses` of a route that may answer these errors."""
    return {each: {"model": ErrorBody, "description": _MEANINGS[each]} for each in statuses}


READ_ERRORS = errors(400, 401, 403, 404, 408, 413, 429, 503)
CHANGE_ERRORS = errors(400, 401, 403, 404, 408, 409, 413, 429, 503)
SPEECH_ERRORS = errors(400, 401, 403, 404, 408, 409, 413, 429, 500, 503)
