"""A folder as one zip file, made while it is sent: nothing is gathered in memory or on disk."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

_BLOCK_BYTES = 1 << 20


class _Outlet:
    """A file for `zipfile` that cannot seek and gives away what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is held back."""

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def stream_zip(folder: Path) -> Iterator[bytes]:
    """The files under a folder, stored as they are: sound is compressed already or should not be.

    Hidden files (drafts) and links are left out.
    """
    outlet = _Outlet()
    with zipfile.ZipFile(outlet, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # type: ignore[call-overload]
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            is_hidden = any(part.startswith(".") for part in inside.parts)
            if is_hidden or path.is_symlink() or not path.is_file():
                continue
            info = zipfile.ZipInfo.from_file(path, inside.as_posix(), strict_timestamps=False)
            with path.open("rb") as source, archive.open(info, "w", force_zip64=True) as target:
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
                    yield outlet.take()
    yield outlet.take()
