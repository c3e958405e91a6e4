"""The voices a caller may use: those of everybody, the packaged sample, and the caller's own.

A voice kept through the server belongs to the key that kept it. Voices are read from disk once
and again when their files change, so that one removed or revoked by another process is gone
here too. Reads files: call it from a thread, not from the event loop.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from kouji.config import Settings
from kouji.errors import UnknownVoice
from kouji.serve.caller import Caller
from kouji.voices import Voice, VoiceStore
from kouji.voices.leave import Leave
from kouji.voices.sample import SAMPLE, sample_voice

_KEPT_IN_MEMORY = 512
# What the clients of another service call its voices; they get the operator's default voice.
FOREIGN_NAMES = frozenset(
    "alloy ash ballad cedar coral echo fable marin nova onyx sage shimmer verse".split()
)


@dataclass(frozen=True)
class VoiceLine:
    """What a list shows of a voice.

    created:    ISO 8601; seconds: of the reference
    consent:    its state in one word, see `voices.leave.Leave.state`
    consent_id: of the record that was given for it
    """

    id: str
    name: str
    language: str | None
    created: str
    seconds: float
    consent: str
    owner: str
    transcript: str | None = None
    consent_id: str = ""


class VoiceBook:
    """Voices by name or id, as one caller sees them; safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.store = settings, VoiceStore(settings.home)
        self._voices: OrderedDict[str, tuple[int, Voice]] = OrderedDict()
        self._lock = threading.Lock()
        self._leave = Leave(settings.home, settings.consent_policy)

    def get(self, name: str, caller: Caller) -> Voice:
        """The voice of this name or id.

        raises: UnknownVoice, also for one that belongs to somebody else; VoiceError if damaged
        """
        wanted = self._settings.default_voice if name.lower() in FOREIGN_NAMES else name
        voice = self._find(name, caller) or (self._find(wanted, caller) if wanted != name else None)
        if voice is None:
            raise UnknownVoice(
                "no such voice", seen=name[:100], cure="list yours, or keep one under this name"
            )
        return voice

    def list(self, caller: Caller) -> list[VoiceLine]:
        """All voices the caller may use, the sample first; damaged ones are left out."""
        return [self.line(SAMPLE, caller)] + [
            self._line(values)
            for values in self.store.list()
            if "damaged" not in values and caller.may_see(str(values.get("owner", "")))
        ]

    def line(self, name: str, caller: Caller) -> VoiceLine:
        """What a list shows of one voice; UnknownVoice as `get`."""
        voice = self.get(name, caller)
        if voice.id != SAMPLE:
            return self._line(self.store.describe(voice.id))
        assert voice.consent is not None
        seconds, kind = voice.reference.duration, voice.consent.kind
        return VoiceLine(
            SAMPLE, SAMPLE, voice.language, voice.created, seconds, kind, "", voice.transcript
        )

    def own(self, name: str, caller: Caller) -> Voice:
        """A voice the caller may change: of its own, any for an admin; UnknownVoice."""
        voice = self.get(name, caller)
        if voice.id == SAMPLE or (voice.owner != caller.id and not caller.may("admin")):
            raise UnknownVoice("no such voice of yours", seen=name[:100])
        return voice

    def with_consent(self, consent_id: str, owner: str) -> tuple[str, ...]:
        """Ids of the owner's voices that were kept with this consent."""
        return tuple(
            str(values["id"])
            for values in self.store.list()
            if str(values.get("owner", "")) == owner
            and str((values.get("consent") or {}).get("id", "")) == consent_id
        )

    def add(self, voice: Voice, *, consent_recording: bytes | None = None) -> Voice:
        """Keep a voice; make its id with `owned_id`. VoiceError if the name is taken."""
        return self.store.add(voice, consent_recording=consent_recording)

    def remove(self, name: str, caller: Caller) -> Voice:
        """Forget a voice of the caller's own; UnknownVoice for every other."""
        voice = self.own(name, caller)
        self.store.remove(voice.id)
        with self._lock:
            self._voices.pop(voice.id, None)
        return voice

    def num_owned(self, caller: Caller) -> int:
        """Voices that count against the caller's quota."""
        return sum(str(values.get("owner", "")) == caller.id for values in self.store.list())

    def _line(self, values: dict[str, Any]) -> VoiceLine:
        given = values.get("consent") or {}
        return VoiceLine(
            str(values["id"]),
            str(values["name"]),
            values.get("language"),
            str(values.get("created", "")),
            float(values.get("duration") or 0.0),
            self._leave.state(values),
            str(values.get("owner", "")),
            values.get("transcript"),
            str(given.get("id", "")),
        )

    def _find(self, name: str, caller: Caller) -> Voice | None:
        """By id, by the caller's own name for it, or by a name everybody shares."""
        if name == SAMPLE:
            return sample_voice()
        for candidate in dict.fromkeys((owned_id(name, caller), name)):
            if candidate and candidate in self.store:
                voice = self._read(candidate)
                if voice is not None and caller.may_see(voice.owner):
                    return voice
        return None

    def _read(self, name: str) -> Voice | None:
        """A voice from memory while its description is unchanged on disk."""
        folder = self.store.locate(name)
        try:
            changed = (folder / "voice.json").stat().st_mtime_ns if folder else None
        except OSError:
            changed = None
        if folder is None or changed is None:
            return None
        with self._lock:
            known = self._voices.get(folder.name)
            if known is not None and known[0] == changed:
                self._voices.move_to_end(folder.name)
                return known[1]
        voice = self.store.get(folder.name)
        with self._lock:
            self._voices[folder.name] = changed, voice
            while len(self._voices) > _KEPT_IN_MEMORY:
                self._voices.popitem(last=False)
        return voice


def owned_id(name: str, caller: Caller) -> str:
    """The id under which a caller's voice is kept: two keys may use one name.

    Without keys it is the name's own id, as on the command line.
    """
    if not caller.id:
        return name
    digest = hashlib.sha256(f"{caller.id}\0{name.strip().casefold()}".encode()).hexdigest()
    return f"voice_{digest[:24]}"
