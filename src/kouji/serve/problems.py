"""Errors as HTTP answers, once: status, code, and a message without paths or commands.

The body is OpenAI's; dialects with another one build it from the same `Problem`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from kouji import errors
from kouji.errors import KoujiError

# The first class that fits decides: subclasses stand before their bases.
_TABLE: tuple[tuple[type[Exception], int, str, str], ...] = (
    (errors.NotAuthenticated, 401, "authentication_error", "invalid_api_key"),
    (errors.NotAllowed, 403, "permission_error", "not_allowed"),
    (errors.QuotaExceeded, 429, "rate_limit_error", "quota_exceeded"),
    (errors.Overloaded, 503, "server_error", "overloaded"),
    (errors.EngineBusy, 503, "server_error", "overloaded"),
    (errors.DeadlineExceeded, 503, "server_error", "deadline_exceeded"),
    (errors.Cancelled, 503, "server_error", "cancelled"),
    (errors.EngineError, 500, "server_error", "engine_failed"),
    (errors.TooLarge, 413, "invalid_request_error", "too_large"),
    (errors.UnknownVoice, 404, "invalid_request_error", "voice_not_found"),
    (errors.ConsentError, 403, "permission_error", "consent_required"),
    (errors.VoiceError, 409, "invalid_request_error", "voice_unusable"),
    (errors.ReferenceRefused, 400, "invalid_request_error", "reference_refused"),
    (errors.AudioError, 400, "invalid_request_error", "unreadable_audio"),
    (errors.MarkError, 400, "invalid_request_error", "invalid_mark"),
    (errors.StyleError, 400, "invalid_request_error", "invalid_style"),
    (errors.TextError, 400, "invalid_request_error", "invalid_text"),
    (errors.ModelError, 404, "invalid_request_error", "model_not_found"),
    (errors.JobError, 409, "invalid_request_error", "job_unusable"),
    (errors.UsageError, 400, "invalid_request_error", "invalid_value"),
)
# Where the error does not know: a quota of things kept has room once something is removed.
_DEFAULT_RETRY_SECONDS = {503: 5.0, 429: 3600.0}
_PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:\\|~?/)(?:[\w.+@-]+[/\\])+[\w.+@-]*")
_COMMAND = re.compile(r"\bkouji \w+|--\w|config\.toml|KOUJI_")


class ErrorFacts(BaseModel):
    """What is known about an error."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    param: str | None = None
    code: str


class ErrorBody(BaseModel):
    """OpenAI's shape of an error."""

    error: ErrorFacts


# What any route may answer, for the OpenAPI description.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": what}
    for status, what in (
        (400, "The request is wrong"),
        (401, "No key, or one that does not count"),
        (403, "Not with this key, or not without consent"),
        (404, "There is no such thing"),
        (409, "Not in this state"),
        (413, "Too large"),
        (429, "A quota is used up"),
        (503, "Come again after Retry-After"),
    )
}


@dataclass(frozen=True)
class Problem:
    """An answer that is an error.

    type, code:  as OpenAI's clients know them; code is stable, the message may change
    retry_after: seconds
    """

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        """OpenAI's shape."""
        facts = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": {**facts, **self.more}}

    def headers(self) -> dict[str, str]:
        """Retry-After, and how to authenticate where a key was wanted."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def problem_of(error: KoujiError) -> Problem:
    """What a caller is told of an error."""
    status, type_, code = next(
        (row[1:] for row in _TABLE if isinstance(error, row[0])),
        (500, "server_error", "internal_error"),
    )
    retry_after = getattr(error, "retry_after", None)
    if retry_after is None:
        retry_after = _DEFAULT_RETRY_SECONDS.get(status)
    more: dict[str, Any] = {}
    if isinstance(error, errors.MarkError):
        more = {"start": error.start, "end": error.end}
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        more["reason"] = reason
    return Problem(status, type_, code, public_message(error), None, retry_after, more)


def public_message(error: KoujiError) -> str:
    """The error's line without this machine's paths, and without cures only its owner can take."""
    message = error.what
    facts = [f"seen: {error.seen}"] if error.seen is not None else []
    if error.allowed is not None:
        facts.append(f"allowed: {error.allowed}")
    if facts:
        message += f" ({'; '.join(facts)})"
    if error.cure and not _COMMAND.search(error.cure):
        message += f"; {error.cure}"
    return _PATH.sub("…", message)
