"""Recordings sent along with a request, and the voices made of them for that request alone.

A voice in use is kept in memory under its content and its caller, so that the same recording
sent again costs no cleaning. Whether it may be spoken in is asked anew each time. Nothing of it
is written to disk, and no other caller ever meets it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from kouji.config import Settings
from kouji.errors import ConsentError, TooLarge, UsageError
from kouji.serve.caller import Caller
from kouji.serve.fetching import Fetcher
from kouji.voices import Voice
from kouji.voices.consent import Consent, attest_by_use, of_key

MAX_TRANSCRIPT_CHARACTERS = 1000
_KEPT_IN_MEMORY = 64  # of at most 10 s and 1 MB each
_DATA_URL = re.compile(r"data:(?:[\w.+-]+/[\w.+-]+)?(?:;[\w.+-]+=[\w.+\"-]+)*;base64,", re.ASCII)


@dataclass(frozen=True)
class InlineReference:
    """A recording to speak in the voice of, once.

    recording:  the bytes of an audio file
    transcript: what is said in it; consent: the id of a consent given before
    """

    recording: bytes
    transcript: str | None = None
    language: str | None = None
    consent: str | None = None

    @property
    def digest(self) -> str:
        """sha256 of all that the voice depends on."""
        parts = hashlib.sha256(self.recording)
        for text in (self.transcript, self.language):
            parts.update(b"\0" + (text or "").encode(errors="surrogatepass"))
        return parts.hexdigest()


# (consent id, caller, the voice without a consent) -> a verified consent, or ConsentError
Lookup = Callable[[str, Caller, Voice], Consent]


class References:
    """Makes voices of recordings; safe to use from many threads."""

    def __init__(
        self, settings: Settings, lookup: Lookup, *, fetcher: Fetcher | None = None
    ) -> None:
        """lookup: finds a consent by its id and judges whether it covers a voice."""
        self._settings, self._lookup = settings, lookup
        self.max_bytes = int(settings.max_body_mb * 1e6)
        self.fetcher = fetcher or Fetcher(settings.ref_hosts, self.max_bytes)
        self._voices: OrderedDict[tuple[str, str], Voice] = OrderedDict()
        self._heard_with: dict[str, set[str]] = {}  # consent id -> content hashes
        self._lock = threading.Lock()

    async def read(self, source: str) -> bytes:
        """The recording a data URL holds, or an allowed URL leads to.

        raises: UsageError, TooLarge, NotAllowed, UnreadableAudio
        """
        if source[:5].lower() == "data:":
            return decode_data_url(source, self.max_bytes)
        return await self.fetcher.fetch(source)

    def check(self, reference: InlineReference, caller: Caller) -> None:
        """Refuse what could not be allowed whatever the recording holds; costs nothing.

        raises: ConsentError
        """
        is_strict = self._settings.consent_policy == "verify"
        if is_strict and reference.consent is None and not is_trusted(caller):
            raise ConsentError(
                "a recording sent along needs its speaker's verified consent here",
                reason="unverified",
                allowed="the id of a verified consent, or a key with the scope clone",
                cure="ask for a challenge, let the speaker read it, and send the consent's id",
            )

    def voice(self, reference: InlineReference, caller: Caller) -> Voice:
        """The voice of a recording with the consent that holds for it now; runs in a thread.

        raises: ConsentError, ReferenceRefused, UnreadableAudio, VoiceError
        """
        self.check(reference, caller)
        key = caller.id, reference.digest
        with self._lock:
            voice = self._voices.get(key)
            if voice is not None:
                self._voices.move_to_end(key)
        if voice is None:
            voice = self._hear(reference, caller)
            with self._lock:
                self._voices[key] = voice
                while len(self._voices) > _KEPT_IN_MEMORY:
                    self._voices.popitem(last=False)
        return replace(voice, consent=self._consent(reference, caller, voice))

    def heard_with(self, consent_id: str) -> set[str]:
        """Content hashes of the recordings that were spoken in with this consent."""
        with self._lock:
            return set(self._heard_with.get(consent_id, ()))

    def _consent(self, reference: InlineReference, caller: Caller, voice: Voice) -> Consent:
        if reference.consent is not None:
            consent = self._lookup(reference.consent, caller, voice)
            with self._lock:
                self._heard_with.setdefault(consent.id, set()).add(voice.content_hash)
            return consent
        if self._settings.consent_policy == "verify":
            return of_key(caller.id)
        return attest_by_use()

    def _hear(self, reference: InlineReference, caller: Caller) -> Voice:
        from kouji.audio.clean import prepare_reference
        from kouji.voices.enroll import reference_rules

        rules = reference_rules(self._settings)
        has_words = bool(reference.transcript)
        audio, report = prepare_reference(reference.recording, rules, has_words=has_words)
        return Voice.from_reference(
            audio,
            name="reference",
            transcript=reference.transcript,
            language=reference.language,
            report=report,
            id=f"inline-{reference.digest[:32]}",
            owner=caller.id,
        )


def is_trusted(caller: Caller) -> bool:
    """Whether the operator trusts this key with recordings; a caller without a key never is."""
    return bool(caller.id) and caller.may("clone")


def decode_data_url(url: str, max_bytes: int) -> bytes:
    """The bytes in a data URL, whose size is looked at before they are decoded.

    raises: UsageError, TooLarge
    """
    head = _DATA_URL.match(url[:200])
    if head is None:
        raise UsageError(
            "this is no data URL with a recording",
            seen=repr(url[:40]),
            allowed="data:audio/wav;base64,… in base64",
        )
    num_bytes = (len(url) - head.end()) * 3 // 4
    if num_bytes > max_bytes + 2:
        raise TooLarge(
            "the recording is too large", seen=f"{num_bytes} bytes", allowed=f"{max_bytes} bytes"
        )
    try:
        recording = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("the data URL is not base64", seen=str(error)) from error
    if not recording:
        raise UsageError(
            "the data URL holds no recording", cure="put the audio file behind base64,"
        )
    return recording
