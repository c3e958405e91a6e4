"""One process, one engine: every family at once, and none of them hears another."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from tiny_cosyvoice import make_tiny_cosyvoice
from tiny_gpt_sovits import write_directory
from tiny_mini import make_tiny_checkpoint

from kouji.api import TTS, SpeakOptions, load
from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.models.cosyvoice.render_row import CosyRow
from kouji.models.mini.family import MiniFamily
from kouji.types import Samples
from kouji.voices.sample import sample_voice

OPTIONS = SpeakOptions(guard=False)  # random weights babble
TEXTS = ("Hi you.", "春晓。")


@dataclass(frozen=True)
class Loaded:
    """All models on one engine."""

    engine: Engine
    models: dict[str, TTS]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("models")
    settings = Settings(home=folder / "home")
    sources = {
        "sovits": write_directory(folder / "sovits"),
        "cosyvoice3": make_tiny_cosyvoice(folder / "cosyvoice3", "cosyvoice3"),
        "cosyvoice2": make_tiny_cosyvoice(folder / "cosyvoice2", "cosyvoice2"),
    }
    with Engine(EngineSettings.from_settings(settings)) as engine:
        models = {
            name: load(str(source), precision="float32", settings=settings, engine=engine)
            for name, source in sources.items()
        }
        mini = MiniFamily(make_tiny_checkpoint(), precision="float32")
        models["mini"] = TTS(mini, settings, engine)
        yield Loaded(engine, models)


def _join(stream: Iterator[object]) -> Samples:
    return np.concatenate([chunk.samples for chunk in stream])  # type: ignore[attr-defined]


def test_families_at_once_sound_as_each_alone(loaded: Loaded) -> None:
    voice = sample_voice()
    asked = [
        (name, text, seed, is_streamed)
        for name in loaded.models
        for seed, (text, is_streamed) in enumerate(zip(TEXTS, (False, True), strict=True))
    ]

    def begin(name: str, text: str, seed: int, is_streamed: bool) -> Iterator[object]:
        tts = loaded.models[name]
        return tts.stream(text, voice, seed=seed, options=OPTIONS, in_chunks=is_streamed)

    alone = [_join(begin(*each)) for each in asked]
    together = [begin(*each) for each in asked]
    leavers = [begin(*each) for each in asked[::3]]
    for leaver in leavers:
        next(leaver)
        leaver.close()  # type: ignore[attr-defined]
    for each, sound, stream in zip(asked, alone, together, strict=True):
        np.testing.assert_allclose(_join(stream), sound, atol=3e-4, err_msg=str(each))
    loaded.engine.check_integrity()


def test_nothing_is_held_when_all_is_said(loaded: Loaded) -> None:
    voice = sample_voice()
    for tts in loaded.models.values():
        for _ in range(2):
            next(tts.stream(TEXTS[0], voice, options=OPTIONS))
    gc.collect()
    deadline = time.monotonic() + 60
    while loaded.engine.stats().num_requests and time.monotonic() < deadline:
        time.sleep(0.02)
    stats = loaded.engine.stats()
    assert stats.num_requests == stats.seats_used == 0
    loaded.engine.check_integrity()
    assert not [value for value in gc.get_objects() if type(value) is CosyRow]
