"""May this voice speak now? The operator's policy and the revocations, asked in one place.

Everything that speaks asks `Leave.require` before it computes and again for every chunk, so a
revocation or the end of a consent stops a stream that is under way. Asking costs one look at
a file's size and time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kouji.errors import ConsentError
from kouji.voices.consent import HOW_TO_RENEW, Consent, require_for_voice
from kouji.voices.revocation import Revocations
from kouji.voices.voice import Voice, hash_audio


class Leave:
    """The leave to use voices under one home and one policy; safe to use from many threads."""

    def __init__(self, home: Path, policy: str) -> None:
        """policy: off, attest or verify; see `Settings.consent_policy`."""
        self.policy = policy
        self._revocations = Revocations(home)
        self._lock = threading.Lock()
        self.num_changes = 0  # how often the revocations were found changed

    def require(self, voice: Voice) -> None:
        """Raise ConsentError if the voice may not be used now, whoever holds it since when.

        A revocation counts under every policy; everything else is the policy's to ask.
        raises: VoiceError if the revocations cannot be read
        """
        others = self._hashes_of_others(voice)
        self._require_unrevoked(voice.name, voice.consent, (voice.content_hash, *others))
        require_for_voice(voice.name, voice.consent, self.policy, content_hash=voice.content_hash)
        if self.policy == "verify" and voice.consent and voice.consent.kind == "verified":
            _require_compared(voice, voice.consent)

    def warning(self, voice: Voice) -> str | None:
        """What to tell where a voice may be used although its recording was revoked before."""
        hashes = (voice.content_hash, *self._hashes_of_others(voice))
        with self._lock:
            found = self._revocations.find(hashes)
        if not found:
            return None
        return (
            f"the consent to this recording was revoked on {found[-1].time[:10]}; "
            "go on only if its speaker has agreed anew"
        )

    def state(self, values: Mapping[str, Any]) -> str:
        """One word for the consent of a kept voice, given by the content of its voice.json.

        revoked, expired, none, unverified (where the policy is verify), else its kind
        """
        given = values.get("consent")
        hashes = [str(values.get("content_hash", "")), *map(str, values.get("others", ()))]
        try:
            consent = Consent.from_json(given) if given else None
            self._require_unrevoked("", consent, hashes)
            require_for_voice("", consent, self.policy, content_hash=hashes[0])
        except ConsentError as error:
            return "none" if error.reason == "missing" else error.reason
        except (TypeError, ValueError):
            return "damaged"
        return consent.kind if consent else "none"

    def is_revoked(self, hashes: Sequence[str]) -> bool:
        """Whether one of these recordings was ever revoked, as of the last question."""
        with self._lock:
            return bool(self._revocations.find(hashes))

    def _hashes_of_others(self, voice: Voice) -> tuple[str, ...]:
        """Of the further references, which are hashed only where there is something to find."""
        with self._lock:
            self.num_changes += self._revocations.refresh()
            is_needed = bool(self._revocations)
        return tuple(map(hash_audio, voice.others)) if is_needed else ()

    def _require_unrevoked(self, name: str, consent: Consent | None, hashes: Sequence[str]) -> None:
        with self._lock:
            self.num_changes += self._revocations.refresh()
            found = self._revocations.find(hashes)
        for revocation in found:
            if revocation.voids(consent, self.policy):
                raise ConsentError(
                    f"the consent to voice {name!r} was revoked",
                    reason="revoked",
                    seen=revocation.time,
                    cure=f"remove the voice, or ask its speaker anew: {HOW_TO_RENEW}",
                )


def _require_compared(voice: Voice, consent: Consent) -> None:
    """Raise ConsentError if a further reference was not compared with who agreed."""
    foreign = {hash_audio(audio) for audio in voice.others} - set(consent.others)
    if foreign:
        raise ConsentError(
            f"{len(foreign)} further recordings of voice {voice.name!r} were not compared with "
            "the speaker who agreed",
            reason="not_this_voice",
            cure=HOW_TO_RENEW,
        )
