"""A real server on a real port around toy networks, and clients for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from live_server import Live, Running

from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.models.mini.family import MiniFamily
from kouji.serve.models import ModelPool


@pytest.fixture
def settings(home_dir: Path) -> Settings:
    """The operator's settings of a test's server; override the fixture to change them."""
    return Settings(home=home_dir, threads=1, serve_seats=4)


@pytest.fixture
def open_pool(tiny_family: MiniFamily) -> Callable[[Settings], ModelPool]:
    """What loads the server's models."""

    def open_toys(settings: Settings) -> ModelPool:
        from kouji.api import TTS

        engine = Engine(EngineSettings.from_settings(settings))
        return ModelPool({"mini": TTS(tiny_family, settings, engine)}, engine)

    return open_toys


@pytest.fixture
def serve(open_pool: Callable[[Settings], ModelPool]) -> Iterator[Callable[[Settings], Live]]:
    """Starts servers that are stopped after the test."""
    with ExitStack() as running:
        yield lambda settings: running.enter_context(Running(settings, open_pool))


@pytest.fixture
def live(serve: Callable[[Settings], Live], settings: Settings) -> Live:
    """A server with the settings of the fixture `settings`."""
    return serve(settings)


@pytest.fixture(scope="session")
def shared_live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all tests that only speak: starting one costs more than they do."""

    def open_toys(settings: Settings) -> ModelPool:
        from tiny_mini import make_tiny_checkpoint

        from kouji.api import TTS

        family = MiniFamily(make_tiny_checkpoint(), precision="float32")
        engine = Engine(EngineSettings.from_settings(settings))
        return ModelPool({"mini": TTS(family, settings, engine)}, engine)

    home = tmp_path_factory.mktemp("shared-home")
    with Running(Settings(home=home, threads=1, serve_seats=4), open_toys) as live:
        yield live


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    """A client of `live`."""
    with live.client() as client:
        yield client
