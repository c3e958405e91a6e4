"""The server's log on stderr: one line an event, as text or as JSON, and one for each request.

A request's line holds numbers and names of ours only: no key, no query string, no text unless the
operator asks for it. Lines of libraries below warning are not shown, for at that level some tell
the headers they saw.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from kouji.config import Settings
from kouji.serve.record import RequestRecord

_requests = logging.getLogger("kouji.requests")
_FIELDS = "kouji_fields"  # attribute of a log record that carries figures


def set_up_logs(settings: Settings) -> None:
    """Send the logs of this process to stderr; `log_level` is for ours alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("kouji").setLevel(settings.log_level.upper())
    # Requests are told at every level but the highest, which keeps those that failed here.
    quiet = settings.log_level == "error"
    _requests.setLevel(logging.ERROR if quiet else logging.INFO)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers[:] = []
        library.propagate = True
        library.setLevel(logging.WARNING)


def log_request(record: RequestRecord, *, with_text: bool) -> None:
    """Write one line for a request that has ended."""
    level = logging.ERROR if record.status >= 500 and record.status != 503 else logging.INFO
    if not _requests.isEnabledFor(level):
        return
    fields: dict[str, object] = {
        "id": record.id,
        "key": record.key_id,
        "method": record.method,
        "route": record.route,
        "status": record.status,
        "seconds": round(record.seconds, 4),
        "bytes": record.bytes_sent,
        "characters": record.characters,
        "model": record.model,
        "voice": record.voice,
        "result": record.result,
        "code": record.code,
    }
    if with_text and record.texts:
        fields["text"] = "\n".join(record.texts)
    _requests.log(level, "request", extra={_FIELDS: fields})


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, what happened, then the fields."""
        facts = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "event": _message(self, record),
            **getattr(record, _FIELDS, {}),
        }
        return json.dumps(facts, ensure_ascii=False, default=str)


class TextLines(logging.Formatter):
    """The same for people; figures that say nothing are left out."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, what happened, then name=value."""
        fields = getattr(record, _FIELDS, {})
        told = [f"{name}={_plain(value)}" for name, value in fields.items() if value not in ("", 0)]
        line = " ".join([_time(record), record.levelname.lower(), _message(self, record), *told])
        return " | ".join(part.strip() for part in line.splitlines() if part.strip())


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    message = record.getMessage()
    if record.exc_info:
        message += "\n" + formatter.formatException(record.exc_info)
    return message


def _plain(value: object) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if " " in text or not text.isprintable() else text


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
