"""Who speaks jobs on the command line: models loaded when they are needed, voices of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kouji.cli.session import ModelChoice, load_model
from kouji.config import Settings
from kouji.errors import UnknownVoice

if TYPE_CHECKING:
    from kouji.api import TTS
    from kouji.voices import Voice


class LocalSpeakers:
    """All voices kept on this machine and the packaged one; one model after another is loaded."""

    def __init__(self, settings: Settings) -> None:
        """Load nothing yet."""
        self._settings = settings
        self._models: dict[str, Any] = {}

    def check(self, voice: str, model: str, owner: str) -> None:
        """Refuse a voice that is not kept here, or not for this owner. raises: UnknownVoice"""
        del model  # judged when it is loaded, before the first line
        self._voice(voice, owner)

    def open(self, voice: str, model: str, owner: str) -> tuple[TTS, Voice]:
        """The model, loaded once, and the voice as it is now."""
        return self.load(model), self._voice(voice, owner)

    def load(self, model: str) -> TTS:
        """A model, ready to speak; `default` is the first that a server here would load."""
        name = self._settings.models.partition(",")[0].strip() if model == "default" else model
        if name not in self._models:
            self._models[name] = load_model(ModelChoice(name or "mini"), self._settings)
        tts: TTS = self._models[name]
        return tts

    def _voice(self, name: str, owner: str) -> Voice:
        from kouji.voices import VoiceStore
        from kouji.voices.sample import SAMPLE, sample_voice

        if name == SAMPLE:
            return sample_voice()
        store = VoiceStore(self._settings.home)
        voice = store.get(name) if name in store else None
        if voice is None or (owner and voice.owner not in ("", owner)):
            raise UnknownVoice(
                "no such voice",
                seen=name[:100],
                allowed="sample, or a voice of kouji voice list",
                cure="keep a recording first: kouji voice add",
            )
        return voice

    def close(self) -> None:
        """End the engines."""
        for tts in self._models.values():
            tts.close()
