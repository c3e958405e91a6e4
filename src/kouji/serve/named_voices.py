"""Voices by the names other services' clients give: a kept voice, or a file in a folder of ours.

A file is a recording sent along in all but the sending: it goes through the same rules of
consent. Reads files and hears recordings: call it from a thread.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kouji.errors import UnknownVoice, VoiceError
from kouji.serve.caller import Caller
from kouji.serve.folders import Folders, no_weights
from kouji.serve.references import InlineReference
from kouji.serve.service import Service
from kouji.voices import Voice
from kouji.voices.leave import Leave


class NamedVoices:
    """What one caller may name."""

    def __init__(self, service: Service, caller: Caller) -> None:
        settings = service.settings
        self._service, self._caller = service, caller
        self.folders = Folders(settings.home, service.references.max_bytes)
        self._leave = Leave(settings.home, settings.consent_policy)

    def get(
        self, given: str, *, transcript: str | None = None, language: str | None = None
    ) -> Voice:
        """The voice of a name, an id, or a path to a recording.

        transcript, language: of the recording; they stand in for what a kept voice has
        raises: UsageError for what is none of the caller's, ConsentError, AudioError
        """
        voice = self._kept(given)
        if voice is not None:
            self._leave.require(voice)
            return replace(voice, transcript=transcript, language=language) if transcript else voice
        recording = self.folders.recording(given, self._caller)
        reference = InlineReference(recording, transcript, language if transcript else None)
        voice = self._service.references.voice(reference, self._caller)
        self._leave.require(voice)
        return voice

    def weights(self, given: str) -> Path:
        """A file of weights; what lies beside a kept voice is as free as that voice.

        raises: UsageError for what is none of the caller's, ConsentError
        """
        path, name = self.folders.weights(given)
        if name is not None:
            voice = self._kept(name)
            if voice is None:
                raise no_weights()
            self._leave.require(voice)
        return path

    def _kept(self, given: str) -> Voice | None:
        if not given.isprintable():
            return None
        for name in (given, self.folders.kept_voice(given)):
            try:
                if name is not None:
                    return self._service.voices.get(name, self._caller)
            except UnknownVoice:
                continue
            except VoiceError as error:
                raise VoiceError("this voice cannot be used", seen=given) from error
        return None
