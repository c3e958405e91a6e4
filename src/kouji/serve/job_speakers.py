"""Who speaks the lines of a server's jobs: its loaded models, and the voices of the job's owner.

Lines go behind everything somebody waits for (`SpeakOptions.is_background`), past the gate:
the engine keeps them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kouji.serve.caller import Caller
from kouji.serve.models import ModelPool
from kouji.serve.voicebook import VoiceBook
from kouji.voices import Voice

if TYPE_CHECKING:
    from kouji.api import TTS


class ServerSpeakers:
    """Models and voices as a key sees them; safe to use from many threads."""

    def __init__(self, models: ModelPool, voices: VoiceBook) -> None:
        self._models, self._voices = models, voices

    def check(self, voice: str, model: str, owner: str) -> None:
        """Refuse a voice or model there is not, or not for this owner.

        raises: UnknownVoice, ModelError
        """
        self.open(voice, model, owner)

    def open(self, voice: str, model: str, owner: str) -> tuple[TTS, Voice]:
        """The model and the voice as it is now; both are in memory already."""
        found = self._voices.get(voice, Caller(owner, owner, frozenset({"speak"})))
        return self._models.choose(model, found).tts, found
