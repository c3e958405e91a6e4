"""Files that grow by whole lines: locked while one is added, never left with half a line.

Knows bytes and locks; what the lines say is the business of `audit` and `revocation`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """The file opened for appending under an exclusive lock, which closing releases."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        with contextlib.suppress(ImportError):  # no fcntl on Windows: single user there
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def append_line(descriptor: int, line: str) -> None:
    """Add a line and make it last; a full disk leaves the file as it was.

    raises: OSError
    """
    content = (line + "\n").encode()
    before = os.fstat(descriptor).st_size
    try:
        if os.write(descriptor, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def drop_torn_end(descriptor: int) -> bool:
    """Cut off what follows the last line end; whether there was any.

    Only for a writer that knows that no finished line is lost: a line is finished by its end.
    """
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
    kept = tail.rfind(b"\n") + 1
    if kept == len(tail) or (kept == 0 and size > TAIL_BYTES):
        return False
    os.ftruncate(descriptor, size - len(tail) + kept)
    return True


def last_line(descriptor: int) -> bytes:
    """The last line without its end, also one that has none; empty for an empty file."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, min(size, TAIL_BYTES), max(0, size - TAIL_BYTES))
    return tail.removesuffix(b"\n").rsplit(b"\n", 1)[-1]


TAIL_BYTES = 65536  # at the end of a file, in which the last line lies
