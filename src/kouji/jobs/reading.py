"""A file of any kind to lines to speak: chooses the reader by name, and holds all to one rule.

Knows which suffix is which kind. What every reader promises: a `UsageError` that names the place
in the file, or lines with unique ids, text in each, and slots in order of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePath

from kouji.errors import JobError, UsageError
from kouji.jobs.cues import read_srt, read_vtt
from kouji.jobs.epub import read_epub
from kouji.jobs.job import JobLine
from kouji.jobs.prose import read_markdown, read_plain
from kouji.jobs.tables import read_csv, read_jsonl
from kouji.types import LANGUAGE_MODES

MAX_LINES = 200_000
MAX_LINE_CHARACTERS = 5_000  # some ten minutes of speech, which are in memory at once
MAX_SEED = (1 << 63) - 1
MAX_TIMELINE_SECONDS = 24 * 3600.0  # silence between cues is sound too
MAX_TOLD = 5  # faults named in one message
READERS: dict[str, Callable[[bytes, str], list[JobLine]]] = {
    "text": read_plain,
    "markdown": read_markdown,
    "epub": read_epub,
    "srt": read_srt,
    "vtt": read_vtt,
    "csv": read_csv,
    "jsonl": read_jsonl,
}
SUFFIXES = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".epub": "epub",
    ".srt": "srt",
    ".vtt": "vtt",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def kind_of(name: str, kind: str | None = None) -> str:
    """How a file is read: as asked for, else by its suffix.

    raises: UsageError for a kind or suffix nobody reads
    """
    if kind is not None:
        if kind not in READERS:
            raise UsageError("unknown kind of file", seen=kind, allowed=", ".join(READERS))
        return kind
    suffix = PurePath(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            "the file's suffix does not say how to read it",
            seen=repr(suffix),
            allowed=" ".join(SUFFIXES),
            cure="rename it or name the kind",
        )
    return SUFFIXES[suffix]


def read_lines(name: str, content: bytes, kind: str | None = None) -> list[JobLine]:
    """The lines of a file.

    name:   of the file, for its suffix and for messages
    raises: UsageError naming what is wrong and where
    """
    lines = READERS[kind_of(name, kind)](content, name)
    check_lines(lines, name)
    return lines


def check_lines(lines: Iterable[JobLine], name: str) -> None:
    """Refuse lines that could not be told apart or spoken, all faults (but not too many) at once.

    raises: JobError naming the places
    """
    faults: list[str] = []
    seen: dict[str, str] = {}
    number = num_timed = 0
    for number, line in enumerate(lines, start=1):
        if number > MAX_LINES:
            raise JobError("too many lines", seen=name, allowed=f"up to {MAX_LINES}")
        where = line.where or f"line {number}"
        num_timed += line.start is not None
        if line.id in seen:
            faults.append(f"{where}: the id {line.id[:60]!r} is that of {seen[line.id]}")
        seen.setdefault(line.id, where)
        faults += [f"{where}: {fault}" for fault in _faults_of(line)]
    if not number:
        raise JobError("there is nothing to speak", seen=name, cure="give a file with text in it")
    if 0 < num_timed < number:
        faults.append(f"{number - num_timed} lines without a slot among {num_timed} with one")
    if faults:
        told = "; ".join(faults[:MAX_TOLD])
        more = f"; and {len(faults) - MAX_TOLD} more" if len(faults) > MAX_TOLD else ""
        raise JobError(f"{name} cannot be spoken: {told}{more}", cure="correct it and try again")


def _faults_of(line: JobLine) -> list[str]:
    faults = []
    if any(_is_broken(text) for text in (line.id, line.text, line.voice, line.style)):
        faults.append("it holds half of a character (a lone surrogate)")
    if not line.id.strip():
        faults.append("the id is empty")
    if not line.text.strip():
        faults.append("the text is missing")
    if len(line.text) > MAX_LINE_CHARACTERS:
        faults.append(f"{len(line.text)} characters in one line, allowed: {MAX_LINE_CHARACTERS}")
    if line.seed is not None and not 0 <= line.seed <= MAX_SEED:
        faults.append(f"the seed {line.seed} is out of range, allowed: 0 to 2^63 - 1")
    if line.language is not None and line.language not in LANGUAGE_MODES:
        allowed = ", ".join(LANGUAGE_MODES)
        faults.append(f"unknown language {line.language[:20]!r}, allowed: {allowed}")
    if (line.start is None) != (line.end is None):
        faults.append("a slot has a start and an end, or neither")
    elif not _is_slot(line):
        seen = f"{line.start:g} to {line.end:g} s"
        faults.append(f"its slot is {seen}, allowed: forwards and within 24 hours")
    return faults


def _is_broken(text: str | None) -> bool:
    return text is not None and any("\ud800" <= char <= "\udfff" for char in text)


def _is_slot(line: JobLine) -> bool:
    if line.start is None or line.end is None:
        return True
    return 0 <= line.start < line.end <= MAX_TIMELINE_SECONDS
