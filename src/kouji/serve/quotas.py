"""What each key has used up: requests of the last minute, characters of the day, its last use.

The minute is a sliding one and lives in memory. The day (UTC) and the last use stand in a small
file, written seldom and added to under a lock, so that several servers of one home share a quota;
a crash loses what was counted since the last writing (`FLUSH_SECONDS` at most).
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from kouji.errors import QuotaExceeded
from kouji.serve.caller import Caller
from kouji.voices.lines import locked

FILE_NAME = "key-usage.json"
FLUSH_SECONDS = 10.0
MINUTE = 60.0
_log = logging.getLogger(__name__)


@dataclass
class _Use:
    """Of one key in this process; characters since the last writing."""

    requests: deque[float] = field(default_factory=deque)
    unwritten: int = 0
    last: str | None = None


class QuotaBook:
    """Counts for every key; safe to use from many threads."""

    def __init__(
        self,
        home: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Read what the day has seen so far.

        clock: seconds that never go back; now: the time of day
        """
        self._path, self._clock, self._now = home / FILE_NAME, clock, now
        self._lock = threading.Lock()
        self._uses: defaultdict[str, _Use] = defaultdict(_Use)
        self._voice_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._day = now().date().isoformat()
        self._written = read_usage(home).of_day(self._day)

    def count_request(self, caller: Caller) -> None:
        """Count a request; one that is refused does not count.

        raises: QuotaExceeded when there were as many as allowed in the last minute
        """
        if not caller.id:
            return
        with self._lock:
            use, now = self._uses[caller.id], self._clock()
            use.last = self._now().strftime("%Y-%m-%dT%H:00Z")  # coarse: it tells of a person
            most = caller.quotas.requests_per_minute
            if most is None:
                return
            while use.requests and use.requests[0] <= now - MINUTE:
                use.requests.popleft()
            if len(use.requests) >= most:
                wait = use.requests[0] + MINUTE - now if use.requests else MINUTE
                raise QuotaExceeded(
                    "this key has sent as many requests as it may",
                    allowed=f"{most} in a minute",
                    retry_after=wait,
                )
            use.requests.append(now)

    def charge(self, caller: Caller, num_characters: int) -> Charge:
        """Take characters of a text from the day's; all of them or none.

        raises: QuotaExceeded if fewer are left
        """
        if not caller.id:
            return Charge(self, "", 0, self._day)
        with self._lock:
            self._turn_day()
            use, most = self._uses[caller.id], caller.quotas.characters_per_day
            used = self._written.get(caller.id, 0) + use.unwritten
            if most is not None and used + num_characters > most:
                raise QuotaExceeded(
                    "this key has spoken as many characters as it may",
                    seen=f"{used} today, {num_characters} asked for",
                    allowed=f"{most} in a day (UTC)",
                    retry_after=self._until_midnight(),
                )
            use.unwritten += num_characters
            return Charge(self, caller.id, num_characters, self._day)

    def give_back(self, charge: Charge) -> None:
        """Undo a charge for what was not spoken; of another day it is forgotten."""
        with self._lock:
            if charge.key_id and charge.day == self._day:
                self._uses[charge.key_id].unwritten -= charge.num_characters

    @contextmanager
    def room_for_voice(self, caller: Caller, count: Callable[[], int]) -> Iterator[None]:
        """Hold the caller's other additions back while one voice is kept; call it in a thread.

        count:  how many voices the caller has
        raises: QuotaExceeded if there are as many as allowed
        """
        most = caller.quotas.voices
        if most is None:
            yield
            return
        with self._lock:
            one_at_a_time = self._voice_locks[caller.id]
        with one_at_a_time:
            if (kept := count()) >= most:
                raise QuotaExceeded(
                    "this key keeps as many voices as it may",
                    seen=kept,
                    allowed=str(most),
                    cure="remove one first",
                    retry_after=None,
                )
            yield

    # --- the file

    def flush(self) -> None:
        """Add what was counted to the file; reads and writes files, call it in a thread."""
        with self._lock:
            self._turn_day()
            day = self._day
            counted = {key: use.unwritten for key, use in self._uses.items()}
            last = {key: use.last for key, use in self._uses.items() if use.last}
        if not counted:
            return
        try:
            written = _add_to_file(self._path, day, counted, last)
        except OSError as error:
            # Speaking goes on: the counts stay in memory and are tried again.
            _log.warning("the use of keys cannot be written: %s", error.strerror)
            return
        with self._lock:
            if day == self._day:
                self._written = written
                for key, num_characters in counted.items():
                    self._uses[key].unwritten -= num_characters

    def _turn_day(self) -> None:
        today = self._now().date().isoformat()
        if today != self._day:
            self._day, self._written = today, {}
            for use in self._uses.values():
                use.unwritten = 0

    def _until_midnight(self) -> float:
        now = self._now()
        tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
        return (tomorrow - now).total_seconds()


@dataclass(frozen=True)
class Charge:
    """Characters taken from a key's day; `give_back` undoes it."""

    book: QuotaBook
    key_id: str
    num_characters: int
    day: str

    def give_back(self) -> None:
        """The text was not spoken."""
        self.book.give_back(self)


@dataclass(frozen=True)
class Usage:
    """The file: characters of one day and the hour of the last use, by key id."""

    day: str = ""
    characters: dict[str, int] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)

    def of_day(self, day: str) -> dict[str, int]:
        """Characters by key id, none if the file is of another day."""
        return dict(self.characters) if day == self.day else {}


def read_usage(home: Path) -> Usage:
    """What the file says; absent or damaged it says nothing, for counts are not worth a refusal."""
    try:
        values: dict[str, Any] = json.loads((home / FILE_NAME).read_text(encoding="utf-8"))
        return Usage(
            str(values["day"]),
            {str(key): int(count) for key, count in values["characters"].items()},
            {str(key): str(hour) for key, hour in values["last"].items()},
        )
    except FileNotFoundError:
        return Usage()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("%s is not readable and counts as empty: %s", FILE_NAME, type(error).__name__)
        return Usage()


def _add_to_file(
    path: Path, day: str, counted: dict[str, int], last: dict[str, str]
) -> dict[str, int]:
    """Add to what other servers of this home have written; the characters of the day now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(path.name + ".lock")):
        usage = read_usage(path.parent)
        characters = usage.of_day(day)
        for key, num_characters in counted.items():
            characters[key] = max(0, characters.get(key, 0) + num_characters)
        hours = {key: max(hour, last.get(key, "")) for key, hour in usage.last.items()}
        _write(path, {"day": day, "characters": characters, "last": {**last, **hours}})
    return characters


def _write(path: Path, values: dict[str, Any]) -> None:
    """Under the lock of the file, so one name for the draft is enough."""
    draft = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(values, file)
    os.replace(draft, path)
