"""The audit file: one line for every use of a voice, chained by hashes, without any text.

Each line carries the hash of the line before it, so a line that was changed or taken out
shows. It knows what was done with which voice under which policy, never what was said.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from kouji.errors import VoiceError

FIRST = "0" * 64  # what the first line names as the hash before it


def append(path: Path, event: str, **facts: str | int | bool | None) -> str:
    """Add one line and return its hash; safe against other processes doing the same.

    event: what happened, such as `say` or `voice.add`
    facts: voice hash, watermark id, policy; never the text that was spoken
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as descriptor:
        previous = _last_hash(descriptor, path)
        time = datetime.now(UTC).isoformat(timespec="seconds")
        line: dict[str, object] = {"time": time, "event": event, **facts, "previous": previous}
        line["hash"] = _hash_line(line)
        os.write(descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode())
        os.fsync(descriptor)
    return str(line["hash"])


def verify(path: Path) -> int:
    """Check the chain and return the number of lines; VoiceError names the first broken one."""
    previous, count = FIRST, 0
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            is_whole = line["previous"] == previous and line["hash"] == _hash_line(line)
        except (ValueError, KeyError, TypeError):
            is_whole = False
        if not is_whole:
            raise VoiceError(f"{path} was changed at line {number}", cure="keep it as evidence")
        previous, count = line["hash"], number
    return count


def _hash_line(line: dict[str, object]) -> str:
    """sha256 of every field but the hash itself, in a fixed order."""
    content = {key: value for key, value in line.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _last_hash(descriptor: int, path: Path) -> str:
    """The hash of the last line; only the end of the file is read."""
    size = os.fstat(descriptor).st_size
    if size == 0:
        return FIRST
    tail = os.pread(descriptor, min(size, 65536), max(0, size - 65536))
    try:
        return str(json.loads(tail.rstrip(b"\n").rsplit(b"\n", 1)[-1])["hash"])
    except (ValueError, KeyError, TypeError) as error:
        raise VoiceError(
            f"the last line of {path} is damaged", cure="move the file away as evidence"
        ) from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file opened for appending under an exclusive lock, which closing releases."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(ImportError):  # no fcntl on Windows: single user there
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
