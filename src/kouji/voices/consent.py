"""Consent: the proof that a voice may be used, and what each policy asks of it.

Five kinds exist: an attestation, typed by the person who enrols the voice; a recording in which
the speaker agrees, which nobody has checked; a verified one, in which the speaker reads the
sentence of a challenge (`kouji.verification`); the leave of a key that the operator trusts with
recordings; and the public domain, for the voice in the package. This module decides on one
consent; whether it was revoked is `revocation`'s, both together are `leave`'s. It prints nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

from kouji.errors import ConsentError

STATEMENT = "I have the right to use this voice"
FILE_STATEMENT = "using a voice file attests that you have its speaker's consent"

Kind = Literal["attest", "recording", "verified", "key", "public"]
Scope = Literal["any", "own"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# What the verify policy takes: an attestation is somebody's word, a recording may say anything.
VERIFIED_KINDS = ("verified", "key", "public")
_READ_ALOUD = (
    "run kouji voice challenge, record its speaker reading the sentence, then: kouji voice"
)
HOW_TO_VERIFY = f"{_READ_ALOUD} add NAME RECORDING --challenge ID --consent-file READ.wav"
HOW_TO_RENEW = f"{_READ_ALOUD} consent NAME --challenge ID --consent-file READ.wav"


@dataclass(frozen=True)
class Consent:
    """One consent: who said what, when, for how long.

    statement:      what was typed or read aloud; of a challenge, its sentence
    time:           ISO 8601, UTC
    recording_hash: sha256 of the recording's bytes
    id:             16 hexadecimal digits; empty in records of older versions
    who:            the name the speaker gave, or the id of the key
    scope:          any: whatever the operator allows; own: only by the key that enrolled the voice
    policy:         under which it was given
    voice:          content hash of the reference the speaker was compared with
    others:         hashes of the further references the speaker was compared with
    owner:          the id of the key that asked for it; empty: somebody at this machine
    challenge:      the id of the challenge whose sentence was read
    expires:        ISO 8601, UTC; None until it is revoked
    scores:         what was measured: see docs/consent.md
    """

    kind: Kind
    statement: str
    time: str
    recording_hash: str | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    who: str = ""
    scope: Scope = "any"
    policy: str = ""
    voice: str | None = None
    others: tuple[str, ...] = ()
    owner: str = ""
    challenge: str | None = None
    expires: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def given(self) -> datetime:
        """When it was given."""
        return moment_of(self.time)

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether its time has run out."""
        return self.expires is not None and (now or datetime.now(UTC)) >= moment_of(self.expires)

    def to_json(self) -> dict[str, Any]:
        """The consent as plain values."""
        values = asdict(self) | {"scores": dict(self.scores), "others": list(self.others)}
        return {key: value for key, value in values.items() if value not in (None, "", [], {})}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Consent:
        """Read back `to_json`; ValueError or TypeError if it is not one."""
        known = {"id": "", "statement": ""} | dict(values)
        consent = cls(**known | {"others": tuple(known.get("others", ()))})
        if consent.kind not in get_args(Kind):
            raise ValueError(f"unknown kind of consent {consent.kind!r}")
        if consent.scope not in SCOPES:
            raise ValueError(f"unknown scope of consent {consent.scope!r}")
        texts = {item.name for item in fields(cls)} - {"others", "scores"}
        if wrong := [n for n in texts if not isinstance(getattr(consent, n), str | None)]:
            raise TypeError(f"{', '.join(sorted(wrong))} of a consent must be text")
        consent.is_expired(consent.given)  # both times can be read
        return consent


def attest(statement: str = STATEMENT, *, who: str = "", owner: str = "") -> Consent:
    """Consent by a typed statement; ConsentError if it is not the statement asked for."""
    typed = " ".join(statement.split()).rstrip(".").casefold()
    if typed != STATEMENT.casefold():
        raise ConsentError(
            "the statement of consent differs from the one asked for",
            reason="wrong_statement",
            seen=repr(statement),
            allowed=repr(STATEMENT),
        )
    return Consent("attest", STATEMENT, now_text(), who=who, owner=owner)


def attest_by_use() -> Consent:
    """What speaking straight from a file says under the attest policy."""
    return Consent("attest", FILE_STATEMENT, now_text())


def from_recording(recording: bytes, statement: str = "", *, who: str = "") -> Consent:
    """Consent by a recording of the speaker; the caller has checked that it holds speech.

    recording: the bytes of the audio file, which the store keeps beside the voice
    statement: what is said in it, where known
    """
    return Consent("recording", statement, now_text(), hash_recording(recording), who=who)


def of_key(key_id: str) -> Consent:
    """The leave of a key that the operator trusts to bring recordings (its scope `clone`)."""
    statement = "the operator trusts this key with recordings of voices"
    return Consent("key", statement, now_text(), who=key_id, owner=key_id)


def require_for_enrolment(consent: Consent | None, policy: str) -> None:
    """Raise ConsentError if the policy lets nobody keep a voice with this consent."""
    if policy == "off":
        return
    if consent is None:
        is_strict = policy == "verify"
        raise ConsentError(
            "a voice cannot be kept without its speaker's consent",
            allowed="its speaker reading the sentence of a challenge"
            if is_strict
            else "a recording of the speaker agreeing, or your own statement",
            cure=HOW_TO_VERIFY if is_strict else "add --consent-file consent.wav or --attest",
        )
    _require_kind(consent, policy, "a voice cannot be kept")


def require_for_file(policy: str, *, is_attested: bool, consent: Consent | None = None) -> bool:
    """Decide on speaking straight from a file; True if the user must be told what it attests.

    consent: given with the file; under the verify policy nothing else counts
    raises:  ConsentError
    """
    if policy == "verify":
        if consent is None:
            raise ConsentError(
                "speaking in the voice of a file needs its speaker's verified consent here",
                reason="unverified" if is_attested else "missing",
                seen="consent = verify" + (", an attestation alone" if is_attested else ""),
                cure=f"keep the voice first: {HOW_TO_VERIFY}",
            )
        _require_kind(consent, policy, "this voice may not be used")
    return policy == "attest" and not is_attested and consent is None


def require_for_voice(
    name: str, consent: Consent | None, policy: str, *, content_hash: str | None = None
) -> None:
    """Raise ConsentError if the policy forbids to speak in a kept voice.

    content_hash: of the voice's reference; a consent verified for another one does not count
    """
    if policy == "off":
        return
    if consent is None:
        cure = HOW_TO_RENEW if policy == "verify" else "run: kouji voice consent NAME --attest"
        raise ConsentError(f"voice {name!r} was kept without consent", cure=cure)
    _require_kind(consent, policy, f"voice {name!r} may not be used")
    if consent.is_expired():
        raise ConsentError(
            f"the consent to voice {name!r} has expired",
            reason="expired",
            seen=consent.expires,
            cure=HOW_TO_RENEW,
        )
    is_bound = consent.voice is not None and content_hash is not None
    if is_bound and consent.voice != content_hash:
        raise ConsentError(
            f"the consent of voice {name!r} was given for another recording",
            reason="not_this_voice",
            cure=HOW_TO_RENEW,
        )


def _require_kind(consent: Consent, policy: str, what: str) -> None:
    if policy == "verify" and consent.kind not in VERIFIED_KINDS:
        raise ConsentError(
            f"{what}: its consent was not verified",
            reason="unverified",
            seen=f"{consent.kind}, while consent = verify",
            allowed="its speaker reading the sentence of a challenge",
            cure=HOW_TO_VERIFY if what == "a voice cannot be kept" else HOW_TO_RENEW,
        )


def hash_recording(recording: bytes) -> str:
    """sha256 of the bytes of a recording."""
    return hashlib.sha256(recording).hexdigest()


def expiry(days: int) -> str | None:
    """When a consent given now ends, as text; None for 0 days: until it is revoked."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None


def moment_of(time: str) -> datetime:
    """A moment from ISO 8601, UTC where it names no zone; ValueError if it is none."""
    moment = datetime.fromisoformat(time)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def now_text() -> str:
    """This moment as text, fine enough to tell a consent from the revocation before it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
