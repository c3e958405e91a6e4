"""What the log will say of a request, collected on its way: never a key, never a query string.

The record travels in a context variable, so that whoever learns something about the request can
note it without knowing that there is HTTP around.
"""

from __future__ import annotations

import re
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

ID_HEADER = "x-request-id"
UNMATCHED = "unmatched"  # the route of what is none of ours
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass
class RequestRecord:
    """One request.

    route:      the template, such as /v1/jobs/{job_id}; never what was really asked for
    result:     finished, refused, failed, left (the caller hung up) or timeout
    code:       of the error the caller was told
    characters: of all texts spoken in it
    text:       these texts; written only where the operator asks for it
    """

    id: str
    method: str = ""
    route: str = UNMATCHED
    key_id: str = ""
    status: int = 0
    result: str = "finished"
    code: str = ""
    bytes_sent: int = 0
    characters: int = 0
    model: str = ""
    voice: str = ""
    texts: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the request came."""
        return time.monotonic() - self.began

    def spoken(self, text: str, model: str, voice: str) -> None:
        """A text is about to be spoken for this request."""
        self.characters += len(text)
        self.model, self.voice = model, voice
        self.texts.append(text)

    def failed(self, status: int, code: str) -> None:
        """The caller is told of an error."""
        is_ours = status >= 500 and status != 503
        self.result, self.code = "failed" if is_ours else "refused", code


_current: ContextVar[RequestRecord | None] = ContextVar("kouji_request", default=None)


def begin(offered_id: str, method: str) -> RequestRecord:
    """A record for the request that this task serves.

    offered_id: what the caller calls it; taken if it is short and plain
    """
    is_sane = _SANE_ID.fullmatch(offered_id) is not None
    record = RequestRecord(offered_id if is_sane else uuid.uuid4().hex, method)
    _current.set(record)
    return record


def current() -> RequestRecord:
    """The record of the request being served; one that nobody reads where there is none."""
    return _current.get() or RequestRecord("")
