"""Subtitles as lines with slots: SubRip and WebVTT, as they are found and not as they should be.

Lenient where nothing is lost (numbers missing, one kind of decimal mark for the other, empty
cues), strict where a guess would move speech: a time that cannot be read is an error.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from kouji.errors import UsageError
from kouji.jobs.job import JobLine
from kouji.jobs.prose import has_sound
from kouji.text.encoding import decode

_TIME = r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,3}))?"
_SLOT = re.compile(rf"^\s*{_TIME}\s*-->\s*{_TIME}(?:\s+.*)?$")
_TAG = re.compile(r"</?[A-Za-z0-9][^<>]{0,200}>|</>|<\d[\d:.]{0,20}>|\{\\[^{}]{0,200}\}")
_VOICE = re.compile(r"<v(?:\.[^\s<>]{0,50})?\s+([^<>]{1,100})>")


def read_srt(content: bytes, name: str) -> list[JobLine]:
    """The cues of a SubRip file. raises: UsageError naming the line of a wrong time"""
    return _lines(decode(content, name), name, is_vtt=False)


def read_vtt(content: bytes, name: str) -> list[JobLine]:
    """The cues of a WebVTT file; notes, styles and settings are passed over.

    raises: UsageError if it does not begin with WEBVTT, or naming the line of a wrong time
    """
    text = decode(content, name).removeprefix("\ufeff")
    if not re.match(r"WEBVTT(?:[ \t\r\n]|$)", text):
        raise UsageError("this is not WebVTT", seen=name, allowed="a file that begins with WEBVTT")
    return _lines(text, name, is_vtt=True)


def _lines(text: str, name: str, *, is_vtt: bool) -> list[JobLine]:
    lines: list[JobLine] = []
    for number, start, end, rows in _cues(text.splitlines(), name, is_vtt=is_vtt):
        said = _said(rows, is_vtt=is_vtt)
        if has_sound(said):
            where = f"line {number}"
            lines.append(JobLine(str(len(lines) + 1), said, where, start=start, end=end))
    # Slots in order of time, whatever the file's order; ids tell which cue is which.
    return sorted(lines, key=lambda line: (line.start or 0.0, int(line.id)))


def _cues(
    rows: list[str], name: str, *, is_vtt: bool
) -> Iterator[tuple[int, float, float, list[str]]]:
    """Line number, start, end and text of each cue; a cue ends at an empty row or at the next.

    In SubRip an empty row may stand within a cue: what follows is the cue's, not nobody's.
    """
    place = 0
    while place < len(rows):
        if "-->" not in rows[place]:
            place += 1
            continue
        number = place + 1
        start, end = _slot(rows[place], number, name)
        place += 1
        said: list[str] = []
        while place < len(rows) and "-->" not in rows[place]:
            if is_vtt and not rows[place].strip():
                break
            said.append(rows[place])
            place += 1
        # Without an empty row between cues, the last row before a time is the next one's number.
        if place < len(rows) and "-->" in rows[place] and said and said[-1].strip().isdigit():
            said.pop()
        yield number, start, end, said


def _slot(row: str, number: int, name: str) -> tuple[float, float]:
    found = _SLOT.match(row)
    if not found:
        raise UsageError(
            f"{name}, line {number}: the times of this cue cannot be read",
            seen=row.strip()[:60],
            allowed="00:00:01,500 --> 00:00:04,000",
        )
    values = found.groups()
    start, end = _seconds(*values[:4]), _seconds(*values[4:])
    if end <= start:
        raise UsageError(
            f"{name}, line {number}: this cue ends before it begins",
            seen=row.strip()[:60],
            allowed="an end after the start",
        )
    return start, end


def _seconds(hours: str | None, minutes: str, seconds: str, decimals: str | None) -> float:
    whole = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole + int((decimals or "0").ljust(3, "0")) / 1000


def _said(rows: list[str], *, is_vtt: bool) -> str:
    """The words of a cue on one line, without tags."""
    text = " ".join(row.strip() for row in rows)
    text = _TAG.sub("", _VOICE.sub("", text))
    text = html.unescape(text) if is_vtt else text
    return " ".join(text.split())
