"""Consent: the proof that a voice may be used, and the policy that asks for it.

Two kinds exist: an attestation, typed by the person who enrols the voice, and a recording
in which the speaker agrees. The operator's policy (setting `consent`) says what is asked:
`attest` (enrolling needs either kind; speaking straight from a file attests by doing so),
`verify` (speaking from a file needs the explicit flag too), `off` (nothing, with an audit
line). This module decides; it prints nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from kouji.errors import ConsentError

STATEMENT = "I have the right to use this voice"
FILE_STATEMENT = "using a voice file attests that you have its speaker's consent"


@dataclass(frozen=True)
class Consent:
    """One consent: who said what, when; `recording_hash` is the sha256 of the recording's bytes."""

    kind: Literal["attest", "recording"]
    statement: str
    time: str
    recording_hash: str | None = None

    def to_json(self) -> dict[str, str | None]:
        """The consent as plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Consent:
        """Read back `to_json`; ValueError or TypeError if it is not one."""
        consent = cls(**values)
        if consent.kind not in ("attest", "recording"):
            raise ValueError(f"unknown kind of consent {consent.kind!r}")
        return consent


def attest(statement: str = STATEMENT) -> Consent:
    """Consent by a typed statement; ConsentError if it is not the statement asked for."""
    typed = " ".join(statement.split()).rstrip(".").casefold()
    if typed != STATEMENT.casefold():
        raise ConsentError(
            "the statement of consent differs from the one asked for",
            seen=repr(statement),
            allowed=repr(STATEMENT),
        )
    return Consent("attest", STATEMENT, _now())


def from_recording(recording: bytes, statement: str = "") -> Consent:
    """Consent by a recording of the speaker; the caller has checked that it holds speech.

    recording: the bytes of the audio file, which the store keeps beside the voice
    statement: what is said in it, where known
    """
    digest = hashlib.sha256(recording).hexdigest()
    return Consent("recording", statement, _now(), digest)


def require_for_enrolment(consent: Consent | None, policy: str) -> None:
    """Raise ConsentError if the policy lets nobody keep a voice without consent."""
    if consent is None and policy != "off":
        raise ConsentError(
            "a voice cannot be kept without its speaker's consent",
            allowed="a recording of the speaker agreeing, or your own statement",
            cure="add --consent-file consent.wav or --attest",
        )


def require_for_file(policy: str, *, is_attested: bool) -> bool:
    """Decide on speaking straight from a file; True if the user must be told what it attests.

    raises: ConsentError under the verify policy without the explicit flag
    """
    if policy == "verify" and not is_attested:
        raise ConsentError(
            "speaking in the voice of a file needs its speaker's consent here",
            seen="consent = verify",
            cure="add --i-have-consent, or enrol the voice with kouji voice add",
        )
    return policy == "attest" and not is_attested


def require_for_voice(name: str, consent: Consent | None, policy: str) -> None:
    """Raise ConsentError if a kept voice has no consent and the policy asks for one."""
    if consent is None and policy != "off":
        raise ConsentError(
            f"voice {name!r} was kept without consent",
            cure="remove it and add it again with --consent-file or --attest",
        )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
