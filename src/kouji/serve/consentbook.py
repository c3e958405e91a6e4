"""Consents given through the server: recordings of speakers, each with who, when and how long.

`<home>/consents/<id>.json` and its recording; what was asked for by one key is never seen by
another. A consent becomes part of every voice kept with it. Reads and writes files: call it
from a thread.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kouji.config import Settings
from kouji.errors import ConsentError, QuotaExceeded, UnknownVoice, VoiceError
from kouji.serve.caller import Caller
from kouji.verification.challenges import ChallengeStore
from kouji.voices import Voice
from kouji.voices.consent import Consent, from_recording, hash_recording, now_text
from kouji.voices.enroll import require_speech
from kouji.voices.store import write_atomically
from kouji.voices.voice import clean_name

PURPOSE = "voice"  # of the challenges asked for here
MAX_CONSENTS = 1000  # of one key: a record costs disk, and nobody else notices
_ID = re.compile(r"cons_[0-9a-f]{24}")


@dataclass(frozen=True)
class ConsentRecord:
    """One recording in which somebody agreed.

    owner:     the key that brought it
    challenge: the id of the sentence that was read; None where none was asked for
    verified:  the consent it led to, once a voice was compared with its speaker
    """

    id: str
    name: str
    language: str
    created: str
    owner: str
    recording_hash: str
    challenge: str | None = None
    verified: Mapping[str, Any] | None = None


class ConsentBook:
    """The consents under one home, as each caller sees them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.home / "consents"

    def add(
        self, recording: bytes, caller: Caller, *, name: str, language: str, challenge: str | None
    ) -> ConsentRecord:
        """Keep a recording in which a speaker agrees.

        challenge: the id of the sentence they read; needed under the policy verify
        raises:    ConsentError, UnreadableAudio, VoiceError for the name, QuotaExceeded
        """
        shown = clean_name(name)
        if challenge is None and self._settings.consent_policy == "verify":
            raise ConsentError(
                "a consent needs the sentence of a challenge here",
                reason="unverified",
                cure="POST /v1/audio/voice_consents/challenges, and let the speaker read it",
            )
        if sum(1 for _ in self._owned(caller)) >= MAX_CONSENTS:
            raise QuotaExceeded(
                "too many consents are kept",
                seen=MAX_CONSENTS,
                cure="delete those you need no more",
                retry_after=None,
            )
        require_speech(recording, "sent")
        if challenge is not None:
            ChallengeStore(self._settings.home).get(challenge, purpose=PURPOSE, owner=caller.id)
        record = ConsentRecord(
            f"cons_{secrets.token_hex(12)}",
            shown,
            language,
            now_text(),
            caller.id,
            hash_recording(recording),
            challenge,
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VoiceError("the consent cannot be kept", seen=error.strerror) from error
        write_atomically(self._recording_path(record.id), recording)
        self._write(record)
        return record

    def get(self, number: str, caller: Caller) -> ConsentRecord:
        """A consent of the caller's own; UnknownVoice for every other."""
        record = self._read(number)
        if record is None or not _may_see(record, caller):
            raise UnknownVoice("no such consent", seen=number[:100])
        return record

    def list(self, caller: Caller) -> list[ConsentRecord]:
        """The caller's consents, the newest first."""
        return sorted(self._owned(caller), key=lambda each: each.created, reverse=True)

    def rename(self, number: str, name: str, caller: Caller) -> ConsentRecord:
        """Give a consent another label."""
        record = replace(self.get(number, caller), name=clean_name(name))
        self._write(record)
        return record

    def remove(self, number: str, caller: Caller) -> ConsentRecord:
        """Forget a consent; voices kept with it are the caller's to revoke before."""
        record = self.get(number, caller)
        for path in (self._path(record.id), self._recording_path(record.id)):
            path.unlink(missing_ok=True)
        return record

    def recording(self, number: str) -> bytes:
        """The bytes of a kept recording; VoiceError if it is gone."""
        try:
            return self._recording_path(number).read_bytes()
        except OSError as error:
            raise VoiceError("the consent's recording cannot be read", seen=number) from error

    def consent_for(self, number: str, caller: Caller, voice: Voice) -> Consent:
        """The consent to use a voice, as it is written into the voice.

        raises: ConsentError where the consent is not there or not for this voice
        """
        try:
            record = self.get(number, caller)
        except UnknownVoice as error:
            raise ConsentError("no such consent", reason="missing", seen=number[:100]) from error
        if record.challenge is not None:
            return self._verified(record, voice)
        consent = from_recording(self.recording(record.id), who=record.name)
        policy = self._settings.consent_policy
        return replace(
            consent, id=record.id, time=record.created, owner=record.owner, policy=policy
        )

    def _verified(self, record: ConsentRecord, voice: Voice) -> Consent:
        """The consent for the one voice it was verified with; verifying uses the challenge up."""
        from kouji.verification.consent import verify_challenge

        assert record.challenge is not None
        if record.verified is not None:
            known = Consent.from_json(record.verified)
            if known.voice == voice.content_hash:
                return known
            raise ConsentError(
                "this consent was given for another recording",
                reason="not_this_voice",
                cure="ask for a new challenge",
            )
        consent = verify_challenge(
            self._settings.home,
            record.challenge,
            self.recording(record.id),
            voice.reference,
            name=record.name,
            purpose=PURPOSE,
            owner=record.owner,
            days=self._settings.consent_days,
        )
        consent = replace(consent, id=record.id)
        self._write(replace(record, verified=consent.to_json()))
        return consent

    def _owned(self, caller: Caller) -> Iterator[ConsentRecord]:
        for path in self._folder.glob("cons_*.json"):
            record = self._read(path.stem)
            if record is not None and _may_see(record, caller):
                yield record

    def _read(self, number: str) -> ConsentRecord | None:
        if not _ID.fullmatch(number):
            return None
        try:
            values: dict[str, Any] = json.loads(self._path(number).read_text("utf-8"))
            return ConsentRecord(**values)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise VoiceError("a consent's record is damaged", seen=number) from error

    def _write(self, record: ConsentRecord) -> None:
        write_atomically(self._path(record.id), json.dumps(asdict(record), indent=1).encode())

    def _path(self, number: str) -> Path:
        return self._folder / f"{number}.json"

    def _recording_path(self, number: str) -> Path:
        return self._folder / f"{number}.recording"


def _may_see(record: ConsentRecord, caller: Caller) -> bool:
    return record.owner == caller.id or "admin" in caller.scopes
