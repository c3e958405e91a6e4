"""Evaluation sets: which text in which voice, and which recordings to set it beside.

A set is a file of JSON lines, one item each:

    id               name of the item
    text             what to speak
    language         "en" or "zh"
    reference        recording that gives the voice
    speaker, gender  of the reference; gender is "f", "m" or ""
    recording        real recording of the text, may be missing
    recording_speaker  who speaks in it; missing means `speaker`
    other_reference  recording of another speaker of the same sex, may be missing

Paths are relative to the folder given as --data or else to the set file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from kouji.errors import DataError
from kouji.types import Language

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class EvaluationItem:
    """One line of a set; the module docstring says what the fields mean."""

    id: str
    text: str
    language: Language
    reference: str
    speaker: str = ""
    gender: str = ""
    recording: str | None = None
    recording_speaker: str | None = None
    other_reference: str | None = None

    @property
    def is_own_recording(self) -> bool:
        """True if the recording of the text is by the speaker of the reference."""
        return self.recording is not None and self.recording_speaker in (None, self.speaker)


def load_set(path: Path, data: Path | None = None) -> list[EvaluationItem]:
    """Read a set and make its paths absolute.

    data:   folder the paths are relative to; None or no such file there: the set's folder
    raises: DataError for a bad line (with its number) or a recording that does not exist
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("the evaluation set cannot be read", seen=str(error)) from error
    folders = [folder for folder in (data, path.parent) if folder is not None]
    items = [
        _located(_parse(line, f"{path.name}, line {number}"), folders)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not items:
        raise DataError("the evaluation set is empty", seen=path)
    return items


def save_set(items: Iterable[EvaluationItem], path: Path) -> None:
    """Write a set; fields without a value are left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for item in items:
            record = {key: value for key, value in asdict(item).items() if value is not None}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _parse(line: str, where: str) -> EvaluationItem:
    known = [item.name for item in fields(EvaluationItem)]
    try:
        record: dict[str, Any] = json.loads(line)
        unknown = sorted(set(record) - set(known))
        item = EvaluationItem(**{key: record[key] for key in record if key in known})
    except (ValueError, TypeError) as error:
        raise DataError(
            f"bad item in {where}", seen=str(error), allowed=", ".join(known)
        ) from error
    if unknown:
        raise DataError(f"unknown key in {where}", seen=unknown[0], allowed=", ".join(known))
    if item.language not in LANGUAGES:
        allowed = " or ".join(LANGUAGES)
        raise DataError(f"unknown language in {where}", seen=item.language, allowed=allowed)
    return item


def _located(item: EvaluationItem, folders: list[Path]) -> EvaluationItem:
    places = {
        name: _find(value, folders)
        for name in ("reference", "recording", "other_reference")
        if (value := getattr(item, name)) is not None
    }
    return EvaluationItem(**{**asdict(item), **places})


def _find(relative: str, folders: list[Path]) -> str:
    for folder in folders:
        if (folder / relative).is_file():
            return str(folder / relative)
    raise DataError(
        "a recording of the evaluation set does not exist",
        seen=relative,
        allowed=f"a file under {' or '.join(map(str, folders))}",
        cure="name the folder of the recordings with --data",
    )
