"""The models a server has loaded, and which of them answers a name.

All share one engine, so that requests of every family meet in one scheduler. Knows names and
their aliases; loading is `kouji.api`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from kouji.config import Settings
from kouji.errors import ModelError, UsageError
from kouji.voices import Voice

if TYPE_CHECKING:
    from kouji.api import TTS
    from kouji.engine.engine import Engine

# Names of other services' models; whoever asks for them gets the default.
ALIASES = (
    "", "default", "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"
)  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """The model that will speak.

    name:          as `/v1/models` lists it
    is_substitute: another family was asked for, which is not loaded
    """

    name: str
    tts: TTS
    is_substitute: bool = False


class ModelPool:
    """Loaded models by name; the first is the default."""

    def __init__(self, models: Mapping[str, TTS], engine: Engine | None = None) -> None:
        """Take over loaded models.

        engine: the one they share, closed with the pool; None: each closes its own
        """
        if not models:
            raise UsageError("no model to serve", cure="set models = mini")
        self._models, self._engine = dict(models), engine
        self.default = next(iter(self._models))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, the default first."""
        return tuple(self._models)

    def get(self, name: str | None = None) -> TTS:
        """A model by its name; None is the default."""
        return self._models[name or self.default]

    def choose(self, wanted: str | None, voice: Voice | None = None) -> Chosen:
        """The model for a request.

        wanted: a name, a family's name, an alias; None or an alias follows the voice's own model
        raises: ModelError if nothing loaded goes by that name
        """
        if wanted is None or wanted.lower() in ALIASES:
            own = voice.model if voice is not None else None
            return (self._named(own) if own else None) or Chosen(self.default, self.get())
        if found := self._named(wanted):
            return found
        raise ModelError("unknown model", seen=wanted, allowed=", ".join(self.names))

    def converting(self) -> Chosen | None:
        """The first model that says speech again in another voice, if one does."""
        from kouji.models.family import VoiceConverter

        for name, tts in self._models.items():
            if isinstance(tts.family, VoiceConverter):
                return Chosen(name, tts)
        return None

    def substitute(self, family: str, *, strict: bool) -> Chosen:
        """The model for a dialect that belongs to a family: of that family, else the default.

        strict: raise ModelError rather than let another family speak
        """
        if found := self._named(family):
            return found
        if strict:
            cure = "leave strict out to hear another family"
            raise ModelError(f"no {family} model is loaded here", seen=family, cure=cure)
        return Chosen(self.default, self.get(), is_substitute=True)

    def _named(self, wanted: str) -> Chosen | None:
        from kouji.models.family import speaks_for

        if wanted in self._models:
            return Chosen(wanted, self._models[wanted])
        for name, tts in self._models.items():
            if speaks_for(tts.family, wanted):
                return Chosen(name, tts)
        return None

    def close(self) -> None:
        """End the engine and with it everything under way."""
        for tts in self._models.values():
            tts.close()
        if self._engine is not None:
            self._engine.close()


def open_models(settings: Settings) -> ModelPool:
    """Load what the setting `models` names and let each say a word, so that it is warm.

    raises: UsageError, ModelError
    """
    from kouji.api import load
    from kouji.engine.engine import Engine
    from kouji.engine.settings import EngineSettings
    from kouji.voices.sample import sample_voice

    names = [name.strip() for name in settings.models.split(",") if name.strip()]
    shown = {_public_name(name): name for name in names}
    if len(shown) < len(set(names)):
        raise UsageError("two models have one name", seen=settings.models, cure="rename a folder")
    engine = Engine(EngineSettings.from_settings(settings))
    try:
        models = {
            name: load(source, settings=settings, engine=engine) for name, source in shown.items()
        }
        pool = ModelPool(models, engine)
        for tts in models.values():
            tts.speak("Ready.", sample_voice())
    except BaseException:
        engine.close()
        raise
    return pool


def _public_name(model: str) -> str:
    """What callers know a model by: of a folder its own name, never where it lies."""
    return PurePath(model).name if len(PurePath(model).parts) > 1 else model
