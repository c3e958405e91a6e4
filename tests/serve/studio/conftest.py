"""Servers with the studio, and a real Chromium that may ask nobody else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_server import Live, Running
from studio_page import Visitor
from tiny_mini import make_tiny_checkpoint

from kouji.audio.encode import save_audio
from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.models.mini.family import MiniFamily
from kouji.serve.models import ModelPool
from kouji.types import Audio
from kouji.voices.sample import sample_voice

CHROMIUM = Path("/usr/bin/chromium")


def open_toys(settings: Settings) -> ModelPool:
    """One toy model."""
    from kouji.api import TTS

    family = MiniFamily(make_tiny_checkpoint(), precision="float32")
    engine = Engine(EngineSettings.from_settings(settings))
    return ModelPool({"mini": TTS(family, settings, engine)}, engine)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Live]]:
    """Starts servers with the studio, stopped after the module."""
    with ExitStack() as running:

        def begin(open_pool: Callable[[Settings], ModelPool] = open_toys, **changes: Any) -> Live:
            home = changes.pop("home", None) or tmp_path_factory.mktemp("studio-home")
            settings = Settings(home=home, threads=1, serve_seats=4, **changes)
            return running.enter_context(Running(settings, open_pool, studio=True))

        yield begin


@pytest.fixture(scope="module")
def live(start: Callable[..., Live]) -> Live:
    """A server with the studio around toy networks; nobody needs a key."""
    return start()


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person speaking, as a file to upload: the packaged sample, a little louder."""
    audio = sample_voice().reference
    path = tmp_path_factory.mktemp("recordings") / "reading.wav"
    save_audio(Audio(np.clip(audio.samples * 1.2, -1, 1), audio.sample_rate), path)
    return path


@pytest.fixture
def chromium() -> Iterator[Any]:
    """Debian's Chromium without a window; for one test, as Playwright's own event loop would
    stand in the way of every other test of this process that runs one."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}; install chromium to run this test")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium: Any) -> Iterator[Callable[..., Visitor]]:
    """Opens browsers that are checked and closed after the test."""
    opened: list[Visitor] = []

    def open_for(live: Live, **options: Any) -> Visitor:
        settings = {"locale": "en-US", "viewport": {"width": 1280, "height": 900}, **options}
        opened.append(Visitor(chromium, live.url, **settings))
        return opened[-1]

    yield open_for
    for each in opened:
        each.close()
