"""Tables of lines: CSV with a header, and JSON objects line by line.

Columns: text; and where wanted id, voice, style, seed, language, start, end. A column nobody
knows is an error, as a slip in a name would otherwise lose every voice of a book.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from kouji.errors import UsageError
from kouji.jobs.job import JobLine
from kouji.text.encoding import decode

COLUMNS = ("id", "text", "voice", "style", "seed", "language", "start", "end")
MAX_CELL = 1 << 20
_SEPARATOR = re.compile(r"\s*\"?sep=([,;\t])\"?\s*$", re.IGNORECASE)


def read_csv(content: bytes, name: str) -> list[JobLine]:
    """Rows of a CSV file, separated by commas, semicolons or tabs; the first row names columns.

    raises: UsageError naming the line of a wrong header, seed or row
    """
    text = decode(content, name).removeprefix("\ufeff")
    first, _, rest = text.partition("\n")
    before = 0
    if named := _SEPARATOR.match(first):  # a row of Excel's own, before the header
        delimiter, text, before = named.group(1), rest, 1
    else:
        delimiter = max(",;\t", key=first.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[JobLine] = []
    header: list[str] | None = None
    skipped = before
    try:
        for row in rows:
            number, before = before + 1, skipped + rows.line_num
            if not any(cell.strip() for cell in row):
                continue
            if header is None:
                header = _header(row, name)
                continue
            while len(row) > len(header) and not row[-1].strip():  # empty cells behind the last
                row.pop()
            if len(row) != len(header):
                seen = f"{len(row)} cells"
                _refuse(name, number, "this row does not fit the header", seen, str(len(header)))
            lines.append(_line(dict(zip(header, row, strict=True)), number, len(lines) + 1, name))
    except csv.Error as error:
        raise UsageError(
            f"{name}, line {skipped + rows.line_num}: this is not CSV", seen=error
        ) from error
    return lines


def read_jsonl(content: bytes, name: str) -> list[JobLine]:
    """JSON objects, one a line.

    raises: UsageError naming the line that is not one, or holds a key nobody knows
    """
    lines: list[JobLine] = []
    for number, row in enumerate(decode(content, name).removeprefix("\ufeff").split("\n"), start=1):
        if not row.strip():
            continue
        try:
            values = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{name}, line {number}: this is not JSON", seen=error) from error
        if not isinstance(values, dict):
            _refuse(name, number, "this is not a JSON object", row.strip()[:40], "{...}")
        if unknown := sorted(set(values) - set(COLUMNS)):
            _refuse(name, number, "unknown keys", ", ".join(unknown)[:100], ", ".join(COLUMNS))
        lines.append(_line(values, number, len(lines) + 1, name))
    return lines


def _header(row: list[str], name: str) -> list[str]:
    columns = [cell.strip().casefold() for cell in row]
    while not columns[-1]:
        columns.pop()
    allowed = ", ".join(COLUMNS)
    if unknown := [column for column in columns if column not in COLUMNS]:
        _refuse(name, 1, "unknown columns in the header", ", ".join(unknown)[:100], allowed)
    if len(set(columns)) != len(columns):
        _refuse(name, 1, "a column comes twice", ", ".join(columns)[:100], "each once")
    if "text" not in columns:
        _refuse(name, 1, "the header has no text", ", ".join(columns)[:100], allowed)
    return columns


def _line(values: Mapping[str, Any], number: int, order: int, name: str) -> JobLine:
    """One row; an empty cell is one that is not there, and ids are numbers where none are given."""
    words = {key: _words(values.get(key), key, number, name) for key in COLUMNS[:4]}
    seed = values.get("seed")
    if seed is not None and str(seed).strip() != "":
        try:
            seed = int(str(seed).strip())
        except ValueError:
            _refuse(name, number, "the seed is not a number", str(seed)[:40], "0 to 2^63 - 1")
    else:
        seed = None
    return JobLine(
        id=words["id"] or str(order),
        text=words["text"] or "",
        where=f"line {number}",
        voice=words["voice"],
        style=words["style"],
        seed=seed,
        language=_words(values.get("language"), "language", number, name),
        start=_seconds(values.get("start"), "start", number, name),
        end=_seconds(values.get("end"), "end", number, name),
    )


def _words(value: Any, key: str, number: int, name: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        _refuse(name, number, f"{key} is not text", type(value).__name__, "text")
    if len(str(value)) > MAX_CELL:
        _refuse(name, number, f"{key} is too long", len(str(value)), f"up to {MAX_CELL}")
    return str(value).strip() or None


def _seconds(value: Any, key: str, number: int, name: str) -> float | None:
    if value is None or str(value).strip() == "":
        return None
    try:
        return float(str(value))
    except ValueError:
        _refuse(name, number, f"{key} is not a number of seconds", str(value)[:40], "12.5")


def _refuse(name: str, number: int, what: str, seen: object, allowed: str) -> NoReturn:
    raise UsageError(f"{name}, line {number}: {what}", seen=seen, allowed=allowed)
