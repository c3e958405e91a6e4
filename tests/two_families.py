"""A server's models: a toy GPT-SoVITS and a toy `mini` on one engine; and small recordings."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
from tiny_mini import make_tiny_checkpoint

from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.models.mini.family import MiniFamily
from kouji.serve.models import ModelPool
from kouji.voices.sample import sample_voice


def open_mini(settings: Settings) -> ModelPool:
    """`mini` alone."""
    from kouji.api import TTS

    engine = Engine(EngineSettings.from_settings(settings))
    family = MiniFamily(make_tiny_checkpoint(), precision="float32")
    return ModelPool({"mini": TTS(family, settings, engine)}, engine)


def opener(folder: Path) -> Callable[[Settings], ModelPool]:
    """Opens `mini` and the GPT-SoVITS in a folder."""

    def open_both(settings: Settings) -> ModelPool:
        from kouji.api import TTS, load

        engine = Engine(EngineSettings.from_settings(settings))
        family = MiniFamily(make_tiny_checkpoint(), precision="float32")
        toy = load(str(folder), precision="float32", settings=settings, engine=engine)
        return ModelPool({"mini": TTS(family, settings, engine), "toy": toy}, engine)

    return open_both


@lru_cache(maxsize=4)
def recording(speed: float = 1.0, seconds: float = 4.0) -> bytes:
    """A wav of somebody speaking; another speed is another speaker."""
    reference = sample_voice().reference
    samples = reference.samples[: int(seconds * reference.sample_rate * speed)]
    places = np.arange(0, len(samples) - 1, speed)
    changed = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, changed, reference.sample_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def pcm_of(wav: bytes) -> bytes:
    """The samples of a wav file, as they stand in it."""
    samples, _ = soundfile.read(io.BytesIO(wav), dtype="int16")
    return bytes(samples.astype("<i2").tobytes())
