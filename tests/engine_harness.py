"""What the tests of the engine share: small settings, fake requests, and the last check."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from fake_model import FakeDevice, FakeSegment

from kouji.engine.engine import Engine
from kouji.engine.request import EngineRequest, EngineResult
from kouji.engine.settings import EngineSettings
from kouji.models.stages import RenderOptions, SpeechModel

SMALL = EngineSettings(max_seats=4, max_positions=400, render_wait_ms=0.5, prefix_bytes=4096)


def make_request(
    model: SpeechModel, *segments: FakeSegment | str, voice: str = "anna", **options: Any
) -> EngineRequest:
    """A request for pieces of text; none says hello."""
    pieces = tuple(FakeSegment(part) if isinstance(part, str) else part for part in segments)
    return EngineRequest(model, pieces or (FakeSegment("hello"),), voice, **options)


def streamed(request: EngineRequest) -> EngineRequest:
    """The same request, in chunks."""
    return replace(request, render=RenderOptions(is_streamed=True))


@contextmanager
def small_engine(
    device: FakeDevice | None = None,
    clock: Callable[[], float] = time.monotonic,
    **changes: Any,
) -> Iterator[Engine]:
    """An engine of four seats, that must be empty in the end."""
    settings = replace(SMALL, **changes)
    with Engine(settings, device=device or FakeDevice(), clock=clock) as engine:
        yield engine
        if engine.is_healthy:
            assert_empty(engine)


def assert_empty(engine: Engine) -> None:
    """No request is left behind and no seat is lost."""
    engine.check_integrity()
    stats = engine.stats()
    assert (stats.num_requests, stats.seats_used, stats.rows) == (0, 0, {})


def assert_equal(one: EngineResult, other: EngineResult) -> None:
    """The same outcomes and samples."""
    assert one.outcomes == other.outcomes
    for mine, yours in zip(one.segments, other.segments, strict=True):
        np.testing.assert_array_equal(mine, yours)
