"""One file over HTTP: continued where it broke off, checked, then renamed into place.

What is there of a file is `<name>.part`, beside it `<name>.etag`, the server's mark of its
version: a part is only continued if the server still has the same. A file under its own name is
always whole and checked.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from kouji.errors import ModelError
from kouji.hub.sources import Source, raise_for_refusal

MAX_FAILURES = 6  # in a row without a byte gained; the waits between them are 1, 2, 4, ... s
MAX_TRIES = 1000
MAX_WAIT_SECONDS = 60.0
TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_FAULTS = (httpx.TransportError, httpx.DecodingError)


@dataclass(frozen=True)
class Expected:
    """What a file must be; None is not known. The hash is the proof, the size an early warning."""

    size: int | None
    sha256: str | None


class Broken(Exception):
    """The transfer ended early or the server is busy: worth another try, after `wait` seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        self.wait = wait
        super().__init__(reason)


class Downloader:
    """Fetches files of one source.

    client:  decides proxies and timeouts
    advance: told of every byte gained, or lost by starting again (negative)
    sleep:   waits between tries
    """

    def __init__(
        self,
        client: httpx.Client,
        source: Source,
        advance: Callable[[int], None] = lambda _: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.client, self.source, self.advance, self.sleep = client, source, advance, sleep

    def fetch(self, path: str, target: Path, expected: Expected) -> str:
        """Bring one file; returns its SHA-256.

        raises: ModelError for what the hub refuses, for a connection that stays broken, and for
                content that is not what it must be, even after starting over
        """
        part = part_of(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        for is_last in (False, True):
            self._complete(path, part, expected)
            digest = hash_file(part)
            if expected.sha256 in (None, digest):
                _settle(part, target)
                return digest
            # A continued part may join two versions of a file: once, all of it is fetched again.
            self._discard(part)
            if is_last:
                break
        raise ModelError(
            "a downloaded file is not what it must be, it was thrown away",
            seen=f"{path}: sha256 {digest}",
            allowed=str(expected.sha256),
            cure="try again, or another hub: kouji pull --hub",
        )

    def _complete(self, path: str, part: Path, expected: Expected) -> None:
        """Try until the part is whole."""
        failures = 0
        for _ in range(MAX_TRIES):
            before = _size(part)
            try:
                self._receive(path, part, expected)
                return
            except (Broken, *_FAULTS) as error:
                failures = 0 if _size(part) > before else failures + 1
                if failures >= MAX_FAILURES:
                    raise self._given_up(path, error) from error
                wait = getattr(error, "wait", 0.0) or 2.0 ** max(failures - 1, 0)
                self.sleep(min(wait, MAX_WAIT_SECONDS))
        raise self._given_up(path, Broken(f"{MAX_TRIES} tries"))

    def _receive(self, path: str, part: Path, expected: Expected) -> None:
        """One request; what arrives is in the part, also when it breaks off."""
        have, mark = _size(part), _mark_of(part)
        if expected.size is not None and have > expected.size:
            self._discard(part)
            have = 0
        if expected.size is not None and have == expected.size:
            return
        headers = {"Accept-Encoding": "identity"}  # ranges count bytes as they are stored
        if have and (mark or expected.sha256):
            headers["Range"] = f"bytes={have}-"
            if mark:
                headers["If-Range"] = mark
        with self.client.stream(
            "GET", self.source.url(path), headers=headers, follow_redirects=True
        ) as answer:
            self._require_safe(answer)
            raise_for_refusal(answer, self.source, path)
            if answer.status_code in _RETRIED:
                raise Broken(f"status {answer.status_code}", _wait_of(answer))
            if answer.status_code == 416:  # nothing lies behind what we have
                if _total_of(answer) == have:
                    return
                self._discard(part)
                raise Broken("the server knows another size")
            start = _start_of(answer)
            if start != have:  # the server ignores ranges, or has another version by now
                self._discard(part)
                if start:
                    raise Broken("the server sent another range")
            self._store(answer, part, start, expected)

    def _store(self, answer: httpx.Response, part: Path, start: int, expected: Expected) -> None:
        """Append the body; its length is checked against all that is known."""
        total = expected.size
        if total is None and "Content-Encoding" not in answer.headers:
            length = answer.headers.get("Content-Length", "")
            total = start + int(length) if length.isdigit() else None
        _keep_mark(part, answer.headers.get("ETag", ""))
        with part.open("ab") as file:
            position = start
            for chunk in answer.iter_bytes():  # as it arrives: a given size would lose its rest
                position += len(chunk)
                if total is not None and position > total:
                    raise Broken(f"more than the {total} bytes it must have")
                file.write(chunk)
                self.advance(len(chunk))
        if total is not None and position < total:
            raise Broken(f"ended after {position} of {total} bytes")

    def _require_safe(self, answer: httpx.Response) -> None:
        """A hub over https must not hand us on to an open connection."""
        if self.source.endpoint.startswith("https:") and answer.url.scheme != "https":
            raise ModelError(
                "the hub redirects to an unencrypted connection",
                seen=answer.url,
                cure="try another hub: kouji pull --hub",
            )

    def _discard(self, part: Path) -> None:
        """Throw a part away and take its bytes back."""
        self.advance(-_size(part))
        part.unlink(missing_ok=True)
        _mark_path(part).unlink(missing_ok=True)

    def _given_up(self, path: str, error: Exception) -> ModelError:
        never = isinstance(error, httpx.ConnectError)
        return ModelError(
            "the hub cannot be reached" if never else "the connection to the hub broke too often",
            seen=f"{self.source.url(path)}: {error or type(error).__name__}",
            cure="run the same command again, it continues; or try --hub, or a mirror: --endpoint",
        )


def part_of(target: Path) -> Path:
    """Where a file is kept until it is whole."""
    return target.with_name(target.name + ".part")


def hash_file(path: Path) -> str:
    """SHA-256 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _settle(part: Path, target: Path) -> None:
    """Give a whole file its name; on the disk first, so that a crash leaves no empty one."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)
    _mark_path(part).unlink(missing_ok=True)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _mark_path(part: Path) -> Path:
    return part.with_suffix(".etag")


def _mark_of(part: Path) -> str:
    path = _mark_path(part)
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _keep_mark(part: Path, mark: str) -> None:
    """Only a strong mark says that bytes are the same."""
    if mark and not mark.startswith("W/"):
        _mark_path(part).write_text(mark, encoding="utf-8")
    else:
        _mark_path(part).unlink(missing_ok=True)


def _start_of(answer: httpx.Response) -> int:
    """Position of the first byte of the body: of a `Content-Range: bytes 5-9/10`, 5."""
    if answer.status_code != 206:
        return 0
    unit, _, span = answer.headers.get("Content-Range", "").partition(" ")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdigit():
        raise Broken("the server sent an unknown range")
    return int(first)


def _total_of(answer: httpx.Response) -> int | None:
    """Size of the whole, of a `Content-Range: bytes */10`."""
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return int(total) if total.isdigit() else None


def _wait_of(answer: httpx.Response) -> float:
    """Seconds the server asks us to wait; a date counts as none."""
    asked = answer.headers.get("Retry-After", "")
    return float(asked) if asked.isdigit() else 0.0
