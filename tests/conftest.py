"""Fixtures every test may ask for: the shared data, a private home, made-up audio."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiny_mini import make_tiny_checkpoint

from kouji.types import Audio

if TYPE_CHECKING:
    from kouji.api import TTS
    from kouji.models.mini.family import MiniFamily

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _hears_interrupts() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def root_dir() -> Path:
    """The checkout: the folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of recordings and goldens beside the checkout; the test skips without it."""
    folder = Path(os.environ.get("KOUJI_SHARED", ROOT.parent / "shared"))
    if not (folder / "corpus").is_dir():
        pytest.skip(f"no shared data at {folder}; set KOUJI_SHARED to run this test")
    return folder


@pytest.fixture(scope="session")
def goldens_dir() -> Path:
    """The GPT-SoVITS vectors of the official networks; KOUJI_GOLDENS names another set of them."""
    folder = Path(os.environ.get("KOUJI_GOLDENS", ROOT.parent / "shared" / "goldens"))
    folder = folder / "gpt_sovits" if (folder / "gpt_sovits").is_dir() else folder
    if not (folder / "t2s_config.json").is_file():
        if "KOUJI_GOLDENS" in os.environ:  # asked for, so a slip must not look like a pass
            pytest.fail(f"no vectors at {folder}, which KOUJI_GOLDENS names")
        pytest.skip(f"no vectors at {folder}; set KOUJI_GOLDENS to run this test")
    return folder


@pytest.fixture(scope="session")
def text_goldens(goldens_dir: Path) -> Any:
    """What the official text front end made of reference texts, by language and by step."""
    return json.loads((goldens_dir / "text.json").read_text("utf-8"))


@pytest.fixture
def home_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private, empty KOUJI_HOME, also seen by subprocesses the test starts."""
    home = tmp_path / "kouji-home"
    monkeypatch.setenv("KOUJI_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def _never_touch_the_real_home(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test may write voices or audit lines into the developer's own KOUJI_HOME."""
    if "KOUJI_HOME" not in os.environ:
        monkeypatch.setenv("KOUJI_HOME", str(tmp_path_factory.getbasetemp() / "home"))


@pytest.fixture
def tone() -> Audio:
    """One second of a 220 Hz tone at 24 kHz, peak 0.5."""
    times = np.arange(24_000) / 24_000
    return Audio((0.5 * np.sin(2 * np.pi * 220 * times)).astype(np.float32), 24_000)


@pytest.fixture
def tiny_family() -> MiniFamily:
    """`mini` at toy widths with fixed random weights, in float32."""
    from kouji.models.mini.family import MiniFamily

    return MiniFamily(make_tiny_checkpoint(), precision="float32")


@pytest.fixture
def tiny_tts(tiny_family: MiniFamily, home_dir: Path) -> TTS:
    """The whole product around toy networks, with a home of its own."""
    from kouji.api import TTS
    from kouji.config import Settings

    return TTS(tiny_family, Settings(home=home_dir))
