"""Finished sounds waiting to be fetched, for dialects that answer with an address.

In memory, so that nothing stays when the server ends however it ends: bounded in bytes, the
oldest going first, and in time. A name is random and cannot be guessed: whoever has it may fetch.
Lives on one event loop.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

KEEP_SECONDS = 3600.0
MAX_BYTES = 128_000_000  # about 45 minutes of wav at 24 kHz
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@dataclass(frozen=True)
class Kept:
    """A sound on the shelf, with the headers it is fetched with."""

    content: bytes
    media_type: str
    headers: Mapping[str, str]
    until: float


class Shelf:
    """Keeps sounds under random names for a while."""

    def __init__(
        self,
        *,
        seconds: float = KEEP_SECONDS,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock: seconds that never go back"""
        self._seconds, self._max_bytes, self._clock = seconds, max_bytes, clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self.num_bytes = 0

    def put(self, content: bytes, media_type: str, headers: Mapping[str, str]) -> str:
        """Keep a sound; returns its name. What is oldest makes room, the newest always stays."""
        name = secrets.token_urlsafe(24)
        self._kept[name] = Kept(content, media_type, headers, self._clock() + self._seconds)
        self.num_bytes += len(content)
        self._sweep()
        while self.num_bytes > self._max_bytes and len(self._kept) > 1:
            self._drop(next(iter(self._kept)))
        # The time is up even if nobody ever asks again.
        asyncio.get_running_loop().call_later(self._seconds + 1, self._sweep)
        return name

    def get(self, name: str) -> Kept | None:
        """The sound of this name, if it is still there."""
        self._sweep()
        return self._kept.get(name)

    def _sweep(self) -> None:
        now = self._clock()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        self.num_bytes -= len(self._kept.pop(name).content)


def parse_range(header: str, num_bytes: int) -> range | None:
    """The bytes a Range header asks for; None to send all, an empty range if none are there.

    What is no single range of bytes is ignored, as the standard allows.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return range(max(0, num_bytes - int(last)), num_bytes)
    stop = min(int(last) + 1, num_bytes) if last else num_bytes
    if last and int(last) < int(first):
        return None
    return range(int(first), stop) if int(first) < num_bytes else range(0)
