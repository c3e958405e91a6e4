"""Voices that callers keep and remove, and consents they take back: what that does everywhere.

Joins the voice book, the consents and what the models have in memory. Computes and writes files:
call it from a thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from kouji.config import Settings
from kouji.errors import UsageError, VoiceError
from kouji.serve.caller import Caller
from kouji.serve.consentbook import ConsentBook
from kouji.serve.references import References
from kouji.serve.voicebook import VoiceBook, owned_id
from kouji.voices import Voice, audit
from kouji.voices.consent import Consent, attest, require_for_enrolment
from kouji.voices.enroll import reference_rules, warn_of_transcript
from kouji.voices.receipt import Receipt, revoke
from kouji.voices.revocation import add_revocation, new_revocation
from kouji.voices.voice import clean_name


@dataclass(frozen=True)
class NewVoice:
    """A recording somebody wants to keep as a voice.

    consent:     the id of a consent given before
    attestation: the typed statement, where the policy takes one
    """

    name: str
    recording: bytes
    transcript: str | None = None
    language: str | None = None
    consent: str | None = None
    attestation: str | None = None


class VoiceKeeper:
    """Keeps and removes voices for callers; safe to use from many threads."""

    def __init__(
        self,
        settings: Settings,
        voices: VoiceBook,
        consents: ConsentBook,
        references: References,
        forget: Callable[[str], int],
    ) -> None:
        """forget: drops what models hold in memory of a content hash, and says how many"""
        self._settings, self._voices, self._consents = settings, voices, consents
        self._references, self._forget = references, forget

    def keep(self, new: NewVoice, caller: Caller) -> tuple[Voice, tuple[str, ...]]:
        """Hear, judge and keep a recording; the voice, and warnings.

        raises: ConsentError before anything is heard, ReferenceRefused, UnreadableAudio,
                VoiceError if the name is taken
        """
        from kouji.audio.clean import prepare_reference

        name, number = clean_name(new.name), owned_id(new.name, caller)
        policy = self._settings.consent_policy
        consent, evidence = self._statement(new, caller)
        if new.consent is None:
            require_for_enrolment(consent, policy)
        else:
            self._consents.get(new.consent, caller)
        if number in self._voices.store:
            raise VoiceError(f"a voice named {name!r} exists already", cure="take another name")
        rules = reference_rules(self._settings)
        has_words = bool(new.transcript)
        reference, report = prepare_reference(new.recording, rules, has_words=has_words)
        voice = Voice.from_reference(
            reference,
            name=name,
            transcript=new.transcript,
            language=new.language,
            consent=consent,
            report=report,
            id=number,
            owner=caller.id,
        )
        if new.consent is not None:
            consent = self._consents.consent_for(new.consent, caller, voice)
            require_for_enrolment(consent, policy)
            voice, evidence = replace(voice, consent=consent), self._consents.recording(new.consent)
        self._voices.add(voice, consent_recording=evidence)
        try:
            self._write_down("voice.add", voice, caller)
        except VoiceError:
            self._voices.store.remove(voice.id)  # what is not written down is not kept
            raise
        warning = warn_of_transcript(voice)
        return voice, (warning,) if warning else ()

    def remove(self, name: str, caller: Caller) -> Voice:
        """Forget a voice of the caller's own, on disk and in memory; UnknownVoice."""
        voice = self._voices.remove(name, caller)
        self._forget(voice.content_hash)
        self._write_down("voice.remove", voice, caller)
        return voice

    def take_back(self, number: str, caller: Caller, reason: str = "") -> list[Receipt]:
        """Revoke a consent: nobody speaks in a voice kept with it any more.

        returns: one receipt for each voice
        raises:  UnknownVoice for a consent that is not the caller's
        """
        record = self._consents.get(number, caller)
        receipts = [
            self._revoke(voice_id, caller, reason)
            for voice_id in self._voices.with_consent(record.id, record.owner)
        ]
        if hashes := self._references.heard_with(record.id):
            self._revoke_recordings(hashes, record.id)
        self._consents.remove(number, caller)
        return receipts

    def revoke_voice(self, name: str, caller: Caller, reason: str = "") -> Receipt:
        """Revoke the consent to one voice of the caller's own; UnknownVoice."""
        return self._revoke(self._voices.own(name, caller).id, caller, reason)

    def _revoke(self, voice_id: str, caller: Caller, reason: str) -> Receipt:
        return revoke(
            self._settings.home,
            voice_id,
            audit_file=self._settings.audit_file,
            reason=reason,
            by=caller.id,
            drop=[self._forget],
        )

    def _revoke_recordings(self, hashes: Iterable[str], consent_id: str) -> None:
        """Stop what is spoken just now in recordings that were sent along with a consent."""
        number = secrets.token_hex(8)
        try:
            add_revocation(self._settings.home, new_revocation(hashes, [consent_id], id=number))
        except OSError as error:
            raise VoiceError("the consent cannot be revoked", seen=error.strerror) from error
        for content_hash in hashes:
            self._forget(content_hash)

    def _statement(self, new: NewVoice, caller: Caller) -> tuple[Consent | None, bytes | None]:
        if new.consent is not None and new.attestation is not None:
            raise UsageError("a consent and an attestation were sent", cure="send one of them")
        if new.attestation is None:
            return None, None
        return attest(new.attestation, who=caller.name, owner=caller.id), None

    def _write_down(self, event: str, voice: Voice, caller: Caller) -> None:
        consent = voice.consent.kind if voice.consent else "policy off"
        facts = {"voice": voice.content_hash, "consent": consent, "by": caller.id}
        try:
            audit.append(self._settings.audit_file, event, **facts)
        except OSError as error:
            raise VoiceError(
                "the audit line cannot be written", seen=error.strerror, cure="tell the operator"
            ) from error
