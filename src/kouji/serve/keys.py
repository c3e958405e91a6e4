"""The keys of a server: made, listed, revoked; only their hashes are kept.

A key is 256 random bits, so a plain SHA-256 of it is as good as a slow hash: there is nothing to
guess, and a request costs microseconds. The file lies in the home, readable by its owner only,
and is replaced whole under a lock; servers that run notice by looking at it for each request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kouji.errors import ConfigError, UsageError
from kouji.serve.caller import SCOPES, Caller, Quotas
from kouji.voices.lines import locked

FILE_NAME = "keys.json"
PREFIX = "kouji_"
_RANDOM_BYTES = 32
_LONGEST_NAME = 64
_LONGEST_KEY = 256  # characters looked at; a longer one cannot be ours
_NO_HASH = "0" * 64
_MISSING = (0, 0, 0)


@dataclass(frozen=True)
class KeyRecord:
    """What is kept of a key.

    hash:    SHA-256 of the key, in hex
    created, expires, revoked: UTC, ISO 8601; None: never
    """

    id: str
    name: str
    hash: str
    scopes: tuple[str, ...]
    quotas: Quotas
    created: str
    expires: str | None = None
    revoked: str | None = None

    @property
    def state(self) -> str:
        """active, expired or revoked."""
        if self.revoked:
            return "revoked"
        is_over = self.expires and datetime.fromisoformat(self.expires) <= datetime.now(UTC)
        return "expired" if is_over else "active"

    def caller(self) -> Caller:
        """Who sends this key."""
        return Caller(self.id, self.name, frozenset(self.scopes), self.quotas)


class KeyRing:
    """The keys in one home; safe to use from many threads and processes."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._records: tuple[KeyRecord, ...] = ()
        self._fault: ConfigError | None = None

    def records(self) -> tuple[KeyRecord, ...]:
        """All keys, revoked ones too, the oldest first.

        raises: ConfigError if the file cannot be read
        """
        self._look()
        if self._fault is not None:
            raise self._fault
        return self._records

    @property
    def is_empty(self) -> bool:
        """No key was ever made; one that was revoked counts, and so does a damaged file."""
        self._look()
        return not self._records and self._fault is None

    def find(self, key: str) -> KeyRecord | None:
        """The record of a valid key.

        Every record is compared, and in constant time, whatever the key: what is unknown, revoked
        and expired takes equally long. A damaged file knows no key.
        """
        self._look()
        digest = _hash(key[: _LONGEST_KEY + 1])
        found = None
        for record in self._records:
            if hmac.compare_digest(record.hash, digest):
                found = record
        if found is None:
            return None
        return found if found.state == "active" else None

    def add(
        self,
        name: str,
        scopes: Iterable[str],
        quotas: Quotas | None = None,
        expires: datetime | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key; returns its record and the key, which is never shown again.

        raises: UsageError for a bad name, scope, quota or date
        """
        record, key = _make(name, scopes, quotas or Quotas(), expires)
        with self._changing() as records:
            if any(other.name == record.name and not other.revoked for other in records):
                raise UsageError(
                    "there is a key of this name", seen=record.name, cure="choose another name"
                )
            self._write([*records, record])
        return record, key

    def revoke(self, wanted: str) -> KeyRecord:
        """End a key, by its id or name; servers refuse it from the next request on.

        raises: UsageError if no active or expired key goes by that
        """
        with self._changing() as records:
            places = [
                place
                for place, record in enumerate(records)
                if wanted in (record.id, record.name) and not record.revoked
            ]
            if not places:
                raise UsageError("no such key", seen=wanted, cure="see kouji key list")
            revoked = replace(records[places[0]], revoked=_now())
            self._write([*records[: places[0]], revoked, *records[places[0] + 1 :]])
        return revoked

    # --- the file

    def _look(self) -> None:
        """Read the file again if it is another one; a fault is kept for who asks."""
        stamp = _stamp(self.path)
        if stamp == self._seen:
            return
        with self._lock:
            try:
                self._records, self._fault = _read(self.path), None
            except ConfigError as error:
                self._records, self._fault = (), error
            self._seen = stamp

    def _changing(self) -> _Changing:
        return _Changing(self.path)

    def _write(self, records: list[KeyRecord]) -> None:
        content = json.dumps({"version": 1, "keys": [asdict(item) for item in records]}, indent=1)
        draft = self.path.with_name(f".{self.path.name}.tmp")  # one writer at a time: the lock
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.path)


class _Changing:
    """The records as they stand on disk, while nobody else may change them."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._held = path, locked(path.with_name(path.name + ".lock"))

    def __enter__(self) -> list[KeyRecord]:
        self._held.__enter__()
        try:
            return list(_read(self._path))
        except BaseException:
            self._held.__exit__(None, None, None)
            raise

    def __exit__(self, *_: object) -> None:
        self._held.__exit__(None, None, None)


def _make(
    name: str, scopes: Iterable[str], quotas: Quotas, expires: datetime | None
) -> tuple[KeyRecord, str]:
    name, wanted = name.strip(), tuple(dict.fromkeys(scopes))
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UsageError(
            "a key needs a name", seen=name, allowed=f"1 to {_LONGEST_NAME} printable characters"
        )
    if not wanted or set(wanted) - set(SCOPES):
        raise UsageError("unknown scope", seen=",".join(wanted), allowed=", ".join(SCOPES))
    for what, figure in asdict(quotas).items():
        if figure is not None and figure < 0:
            raise UsageError(f"wrong quota {what}", seen=figure, allowed="0 or more")
    if expires is not None and expires <= datetime.now(UTC):
        raise UsageError("the key would be expired already", seen=expires.isoformat())
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    end = expires.astimezone(UTC).isoformat(timespec="seconds") if expires else None
    record = KeyRecord(f"key-{secrets.token_hex(5)}", name, _hash(key), wanted, quotas, _now(), end)
    return record, key


def _read(path: Path) -> tuple[KeyRecord, ...]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return tuple(_record(item) for item in values["keys"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} cannot be read", seen=error, cure="restore it, or remove it and make new keys"
        ) from error


def _record(values: dict[str, Any]) -> KeyRecord:
    record = KeyRecord(
        **{**values, "scopes": tuple(values["scopes"]), "quotas": Quotas(**values["quotas"])}
    )
    if len(record.hash) != len(_NO_HASH) or not record.hash.isascii():
        raise ValueError(f"the hash of {record.id} is not one")
    return record


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes with every replacement of the file: each is a new inode with a time of its own."""
    try:
        facts = os.stat(path)
    except OSError:
        return _MISSING
    return facts.st_ino, facts.st_mtime_ns, facts.st_size


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
