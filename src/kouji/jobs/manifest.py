"""The manifest: one JSON object a line, in the order of the file, without any text unless asked.

Made anew of the lines' facts each time the job stops, so it never lags behind nor runs ahead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kouji.jobs.folder import JobFolder
from kouji.jobs.job import JobLine
from kouji.jobs.joined import Placed
from kouji.jobs.spoken import SpokenLine, hash_text, without_text

NAME = "manifest.jsonl"


def write_manifest(folder: JobFolder, placed: dict[int, Placed], *, with_text: bool) -> Path:
    """Write it, whole or not at all. raises: OSError"""
    path = folder.result / NAME
    draft = path.with_name(f".{NAME}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            for values in _entries(folder, placed, with_text=with_text):
                file.write(json.dumps(values, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _entries(
    folder: JobFolder, placed: dict[int, Placed], *, with_text: bool
) -> Iterator[dict[str, Any]]:
    for number, line in folder.all_lines():
        spoken = folder.load(number)
        values = _waiting(line) if spoken is None else _told(spoken, placed.get(number))
        if with_text:
            values["text"] = line.text
        elif spoken is not None:
            values["warnings"] = [without_text(told, line.text) for told in spoken.warnings]
            values["error"] = spoken.reason and without_text(spoken.reason, line.text)
        yield values


def _waiting(line: JobLine) -> dict[str, Any]:
    return {"id": line.id, "state": "waiting", "text_sha256": hash_text(line.text)}


def _told(spoken: SpokenLine, placed: Placed | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": spoken.id,
        "state": "spoken" if spoken.is_spoken else "failed",
        "text_sha256": spoken.text_sha256,
        "voice": spoken.voice,
        "voice_sha256": spoken.voice_hash,
        "style": spoken.style,
        "seed": spoken.seed,
        "language": spoken.language,
        "model": spoken.model,
        "warnings": list(spoken.warnings),
        "error": spoken.error,
    }
    if spoken.is_spoken:
        values |= {
            "file": spoken.file,
            "duration": round(spoken.seconds, 4),
            "start": round(placed.start, 4) if placed else None,
        }
    if spoken.start is not None:
        values |= {"slot": [spoken.start, spoken.end], "speech_rate": spoken.speech_rate}
    return values
