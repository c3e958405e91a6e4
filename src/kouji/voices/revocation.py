"""What was revoked: one short file under the home, asked before and while a voice speaks.

A revocation voids every consent given to a recording until then, also those that somebody
still holds in memory, under any name of the voice. `revocations.jsonl` only grows; readers
look at its size and time of change, which costs microseconds, and read it anew when it grew.
Knows hashes and ids; no names, no reasons.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from kouji.errors import VoiceError
from kouji.voices.consent import Consent, moment_of, now_text
from kouji.voices.lines import append_line, drop_torn_end, locked

FILE_NAME = "revocations.jsonl"
RECEIPTS = "receipts"


@dataclass(frozen=True)
class Revocation:
    """One revocation.

    time:     ISO 8601, UTC; consents given later are not touched
    hashes:   of the voice's recordings: its reference and further ones
    consents: ids of consents it voids whatever their time
    """

    id: str
    time: str
    hashes: tuple[str, ...]
    consents: tuple[str, ...] = ()

    def voids(self, consent: Consent | None, policy: str) -> bool:
        """Whether this consent to one of the recordings is no longer one."""
        if consent is None:
            return True
        if consent.kind == "public":
            return False  # nobody's to revoke: else any caller could silence the sample voice
        if (consent.id and consent.id in self.consents) or consent.given <= moment_of(self.time):
            return True
        # Once the speaker has said no, under `verify` only the speaker can say yes again.
        return consent.kind != "verified" and (policy == "verify" or consent.kind == "key")


class Revocations:
    """The revocations under a home, read again when there are more; safe to share by threads."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE_NAME
        self._receipts = home / RECEIPTS  # whoever has some had a list of revocations
        self._seen: tuple[int, int, int] | None = None
        self._by_hash: dict[str, tuple[Revocation, ...]] = {}

    def refresh(self) -> bool:
        """Look at the file; whether it changed since the last look.

        raises: VoiceError if it cannot be read: then nobody knows who may speak
        """
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            if self._seen is not None or any(self._receipts.glob("*.json")):
                raise VoiceError(
                    f"{self.path} has vanished", cure="restore it: it says who must not be spoken"
                ) from None
            return False
        except OSError as error:
            raise _unreadable(self.path, error) from error
        seen = status.st_mtime_ns, status.st_size, status.st_ino
        if seen == self._seen:
            return False
        found: dict[str, tuple[Revocation, ...]] = {}
        for revocation in _read(self.path):
            for known in revocation.hashes:
                found[known] = (*found.get(known, ()), revocation)
        self._by_hash, self._seen = found, seen
        return True

    def find(self, hashes: Iterable[str]) -> list[Revocation]:
        """The revocations of any of these recordings, as of the last `refresh`."""
        return [revocation for known in hashes for revocation in self._by_hash.get(known, ())]

    def __bool__(self) -> bool:
        return bool(self._by_hash)


def add_revocation(home: Path, revocation: Revocation) -> None:
    """Write one down for good; from then on it holds in every process.

    raises: OSError
    """
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / FILE_NAME) as descriptor:
        drop_torn_end(descriptor)  # left by a power cut: nobody was told that it held
        append_line(descriptor, json.dumps(asdict(revocation)))


def new_revocation(
    hashes: Iterable[str], consents: Iterable[str], *, id: str, time: datetime | None = None
) -> Revocation:
    """A revocation as of now."""
    moment = time.isoformat(timespec="microseconds") if time else now_text()
    return Revocation(id, moment, tuple(hashes), tuple(known for known in consents if known))


def _read(path: Path) -> list[Revocation]:
    """Every whole line; what follows the last line end is still being written."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        return [_parse(line) for line in lines]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _unreadable(path, error) from error


def _parse(line: str) -> Revocation:
    values = json.loads(line)
    hashes, consents = values["hashes"], values["consents"]
    revocation = Revocation(str(values["id"]), str(values["time"]), tuple(hashes), tuple(consents))
    moment_of(revocation.time)
    return revocation


def _unreadable(path: Path, error: Exception) -> VoiceError:
    return VoiceError(
        f"{path} cannot be read",
        seen=error,
        cure="restore it: without it nobody knows which voices were revoked",
    )
