"""Files that callers of other services' dialects may name: recordings and weights in our home.

A recording lies in `references/` (everybody's) or `references/<key id>/` (that key's); weights
lie in `models/`, or beside a kept voice. Any other path is refused in one and the same way,
whether something is there or not. Reads files: call it from a thread.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from kouji.errors import TooLarge, UsageError
from kouji.serve.caller import Caller

MAX_PATH_CHARACTERS = 1000
REFERENCES, MODELS, VOICES = "references", "models", "voices"


class Folders:
    """What lies under one home, as each caller may see it; holds no state."""

    def __init__(self, home: Path, max_bytes: int) -> None:
        """max_bytes: of a recording"""
        self._home, self._max_bytes = home, max_bytes

    def recording(self, given: str, caller: Caller) -> bytes:
        """A recording in a folder of references, by its path there or from the root.

        raises: UsageError for every path the caller may not use, TooLarge
        """
        root = self._home / REFERENCES
        for base in dict.fromkeys((root / caller.id, root)):
            path = confine(given, base, root)
            if path is not None and _may_use(path, root, caller):
                return self._read(path)
        raise UsageError(
            "this names no voice and no recording of yours",
            allowed="a kept voice, or a file in your folder of references",
        )

    def kept_voice(self, given: str) -> str | None:
        """The id of the kept voice whose recording a path names; None for any other path."""
        root = self._home / VOICES
        path = confine(given, root, root) or confine(given, self._home, root)
        if path is None or not (path.name.startswith("reference") and path.suffix == ".flac"):
            return None
        parts = _inside(path, root)
        return parts[0] if len(parts) == 2 else None

    def weights(self, given: str) -> tuple[Path, str | None]:
        """A file of weights, and the id of the kept voice it lies beside.

        raises: UsageError
        """
        models, voices = self._home / MODELS, self._home / VOICES
        for base in (models, self._home):
            if path := confine(given, base, models):
                return path, None
        for base in (voices, self._home):
            path = confine(given, base, voices)
            if path is not None and len(parts := _inside(path, voices)) > 1:
                return path, parts[0]
        raise no_weights()

    def _read(self, path: Path) -> bytes:
        # Neither a link nor a pipe that took the file's place since it was looked at.
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(number, "rb") as file:
                facts = os.fstat(number)
                if not stat.S_ISREG(facts.st_mode):
                    raise UsageError("this recording is no file")
                if facts.st_size > self._max_bytes:
                    seen, allowed = f"{facts.st_size} bytes", f"{self._max_bytes} bytes"
                    raise TooLarge("the recording is too large", seen=seen, allowed=allowed)
                return file.read(self._max_bytes)
        except OSError as error:
            raise UsageError("this recording cannot be read", seen=error.strerror) from error


def no_weights() -> UsageError:
    """The one answer to every path that is not to be used as weights."""
    return UsageError(
        "this names no weights here", allowed="a file among the models, or beside a voice of yours"
    )


def confine(given: str, base: Path, root: Path) -> Path | None:
    """The regular file a path leads to, all links followed, if it lies under `root`.

    given: relative to `base`, or from the file system's root; with `..` it is never followed
    """
    if not given or len(given) > MAX_PATH_CHARACTERS or not given.isprintable() or "\\" in given:
        return None
    if ".." in given.split("/"):
        return None
    with suppress(OSError, ValueError):
        path, top = (Path(os.path.realpath(place)) for place in (base / given, root))
        if path.is_relative_to(top) and stat.S_ISREG(path.stat().st_mode):
            return path
    return None


def _inside(path: Path, root: Path) -> tuple[str, ...]:
    """The parts of a confined path below the folder it was confined to."""
    return path.relative_to(os.path.realpath(root)).parts


def _may_use(path: Path, root: Path, caller: Caller) -> bool:
    """What lies in the folder itself is everybody's; a folder in it belongs to one key."""
    parts = _inside(path, root)
    return len(parts) == 1 or caller.may_see(parts[0])
