"""Where text comes from: the command line, a file in any usual encoding, or standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from kouji.errors import UsageError
from kouji.text.encoding import MAX_TEXT_BYTES, decode


def read_text(text: str | None, file: Path | None) -> str:
    """The text to speak from exactly one of the two sources; `-` is standard input.

    raises: UsageError if both or neither is given, or the file is not text
    """
    if (text is None) == (file is None):
        raise UsageError(
            "exactly one text is needed",
            seen="both TEXT and --file" if text is not None else "none",
            allowed='TEXT, --file FILE, or "-" for standard input',
        )
    if text is not None and text != "-":
        return text
    if file is not None and str(file) != "-":
        return decode(_read_file(file), str(file))
    if sys.stdin.isatty():
        sys.stderr.write("kouji: reading text from the terminal; end it with Ctrl-D\n")
    return decode(sys.stdin.buffer.read(MAX_TEXT_BYTES + 1), "standard input")


def require_file(path: Path) -> None:
    """Raise UsageError for a path with no file behind it: a mistyped name is wrong use."""
    if not path.is_file():
        kind = "it is a folder" if path.is_dir() else "no such file"
        raise UsageError("a file is needed", seen=f"{path}: {kind}", cure="check the path")


def require_folder(path: Path, cure: str) -> None:
    """Raise UsageError for a path with no folder behind it."""
    if not path.is_dir():
        raise UsageError("no such folder", seen=path, cure=cure)


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise UsageError(
            "cannot read the text", seen=f"{path}: {error.strerror}", cure="check the path"
        ) from error
