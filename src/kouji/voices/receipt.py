"""Taking a consent back: what is done at once, and the receipt that says so.

The revocation is written first, so that whatever fails afterwards, nobody speaks in the voice
any more. The receipt holds the reason; the audit line holds ids and hashes only.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kouji.errors import VoiceError
from kouji.voices import audit
from kouji.voices.revocation import RECEIPTS, add_revocation, new_revocation
from kouji.voices.store import VoiceStore, write_atomically

FORMAT = 1


@dataclass(frozen=True)
class Receipt:
    """What one revocation did.

    voice:   content hash of the reference
    consent: id of the record that was taken back; empty where it had none
    by:      the id of the key that asked; empty: somebody at this machine
    dropped: files computed from the voice, which are gone
    memory:  conditionings this process held of it, which are gone; other processes drop theirs
             when they are next asked for anything
    sha256:  of all other fields as JSON with sorted keys and no spaces
    """

    id: str
    time: str
    voice_id: str
    voice: str
    consent: str
    recording_hash: str
    reason: str
    by: str
    dropped: tuple[str, ...]
    memory: int
    sha256: str = ""
    format: int = FORMAT

    def digest(self) -> str:
        """What `sha256` must be."""
        content = {key: value for key, value in asdict(self).items() if key != "sha256"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> str:
        """The receipt as it is kept."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"


def revoke(
    home: Path,
    name: str,
    *,
    audit_file: Path,
    reason: str = "",
    by: str = "",
    drop: Iterable[Callable[[str], int]] = (),
) -> Receipt:
    """Take back the consent to a kept voice; from now on nothing speaks in it.

    drop:    called with the content hash; drop what memory holds and tell how many (`TTS.forget`)
    returns: the receipt, which is also kept in `receipts/` under the home
    raises:  UnknownVoice, VoiceError if the disk refuses: then read whether it was before or
             after the revocation itself from `kouji voice list`
    """
    store = VoiceStore(home)
    values = store.describe(name)
    consent: Mapping[str, Any] = values.get("consent") or {}
    number = secrets.token_hex(8)
    hashes = [str(values["content_hash"]), *map(str, values.get("others", ()))]
    revocation = new_revocation(hashes, [str(consent.get("id", ""))], id=number)
    try:
        add_revocation(home, revocation)
    except OSError as error:
        raise VoiceError(
            "the consent could not be revoked", seen=error, cure="make KOUJI_HOME writable"
        ) from error
    memory = sum(each(hashes[0]) for each in drop)
    dropped = store.drop_conditionings(name)
    draft = Receipt(
        id=number,
        time=revocation.time,
        voice_id=str(values["id"]),
        voice=hashes[0],
        consent=str(consent.get("id", "")),
        recording_hash=str(consent.get("recording_hash") or ""),
        reason=reason,
        by=by,
        dropped=dropped,
        memory=memory,
    )
    receipt = Receipt(**{**vars(draft), "sha256": draft.digest()})
    _keep(home, receipt)
    _write_line(audit_file, receipt)
    return receipt


def read_receipt(home: Path, number: str) -> Receipt:
    """A kept receipt by its id; VoiceError if there is none or it was changed."""
    path = _path(home, number)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        receipt = Receipt(**{**values, "dropped": tuple(values["dropped"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise VoiceError("no such receipt", seen=f"{number}: {error}") from error
    if receipt.digest() != receipt.sha256:
        raise VoiceError("this receipt was changed", seen=number, cure="keep it as evidence")
    return receipt


def _keep(home: Path, receipt: Receipt) -> None:
    path = _path(home, receipt.id)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VoiceError("the receipt cannot be written", seen=error) from error
    write_atomically(path, receipt.to_json().encode())


def _write_line(audit_file: Path, receipt: Receipt) -> None:
    facts = {"voice": receipt.voice, "consent": receipt.consent, "by": receipt.by}
    try:
        audit.append(
            audit_file, "consent.revoke", receipt=receipt.id, sha256=receipt.sha256, **facts
        )
    except OSError as error:
        raise VoiceError(
            "the consent is revoked, but the audit line cannot be written", seen=error
        ) from error


def _path(home: Path, number: str) -> Path:
    if not number.isalnum():
        raise VoiceError("this is not the id of a receipt", seen=repr(number))
    return home / RECEIPTS / f"{number}.json"
