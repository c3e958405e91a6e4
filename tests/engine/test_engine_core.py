"""The engine as a whole, on a model of hashes: promises 1, 2, 3 and 6."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_model import FakeDevice, FakeSegment, Mishap, fake_model

from kouji.engine.engine import Engine
from kouji.engine.request import EngineRequest, EngineResult
from kouji.engine.settings import EngineSettings
from kouji.models.stages import RenderOptions, SpeechModel

SMALL = EngineSettings(max_seats=4, max_positions=400, render_wait_ms=0.5)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with Engine(SMALL, device=FakeDevice()) as made:
        yield made
        assert_empty(made)


def assert_empty(engine: Engine) -> None:
    """No request is left behind and no seat is lost."""
    engine.check_integrity()
    stats = engine.stats()
    assert (stats.num_requests, stats.seats_used, stats.rows) == (0, 0, {})


def make_request(
    model: SpeechModel, *segments: FakeSegment | str, voice: str = "anna", **options: Any
) -> EngineRequest:
    """A request for pieces of text."""
    pieces = tuple(FakeSegment(part) if isinstance(part, str) else part for part in segments)
    return EngineRequest(model, pieces or (FakeSegment("hello"),), voice, **options)


def streamed(request: EngineRequest) -> EngineRequest:
    return replace(request, render=RenderOptions(is_streamed=True))


def test_a_request_is_spoken_in_order(engine: Engine) -> None:
    request = make_request(fake_model(), FakeSegment("first", 40), "second", "third")
    result = engine.submit(request).result()
    assert [outcome.index for outcome in result.outcomes] == [0, 1, 2]
    assert [outcome.num_tokens for outcome in result.outcomes] == [40, 12, 12]
    assert [len(samples) for samples in result.segments] == [320, 96, 96]
    assert [outcome.info for outcome in result.outcomes] == ["first", "second", "third"]


@pytest.mark.parametrize("has_decoder", [True, False])
@pytest.mark.parametrize("is_streamed", [True, False])
def test_company_changes_nothing(engine: Engine, has_decoder: bool, is_streamed: bool) -> None:
    """Promise 1: alone or in any company, the same tokens and samples."""
    models = [fake_model(name, has_decoder=has_decoder) for name in ("one", "two")]
    requests = [
        make_request(
            models[number % 2],
            *(FakeSegment(f"text {number} {part}", 5 + 7 * part) for part in range(number % 3 + 1)),
            voice=f"voice {number % 5}",
            seed=number % 4,
            render=RenderOptions(is_streamed=is_streamed),
        )
        for number in range(16)
    ]
    alone = [engine.submit(request).result() for request in requests]
    order = list(range(16))
    random.Random(3).shuffle(order)
    tickets = {number: engine.submit(requests[number]) for number in order}
    for number in range(16):
        assert_equal(tickets[number].result(), alone[number])
    largest = max(engine.stats().batches["step" if has_decoder else "acoustic"])
    assert largest > 1, "they did meet"


def assert_equal(one: EngineResult, other: EngineResult) -> None:
    assert one.outcomes == other.outcomes
    for mine, yours in zip(one.segments, other.segments, strict=True):
        np.testing.assert_array_equal(mine, yours)


@pytest.mark.parametrize("has_decoder", [True, False])
def test_a_stream_is_the_whole(engine: Engine, has_decoder: bool) -> None:
    """Promise 2."""
    model = fake_model(has_decoder=has_decoder)
    request = make_request(model, FakeSegment("a longer piece of text", 41), "and one more")
    chunks = list(engine.submit(streamed(request)))
    whole = engine.submit(request).result()
    assert len(chunks) > 6
    assert [chunk.segment_index for chunk in chunks] == sorted(c.segment_index for c in chunks)
    np.testing.assert_array_equal(np.concatenate([c.samples for c in chunks]), whole.samples)
    ends = [chunk for chunk in chunks if chunk.is_segment_end]
    assert tuple(chunk.outcome for chunk in ends) == whole.outcomes


def test_seeds_and_weights_are_heard(engine: Engine) -> None:
    base = make_request(fake_model(), "hello")
    others = [
        replace(base, seed=1),
        replace(base, model=fake_model("two")),
        replace(base, voice="b"),
    ]
    sound = engine.submit(base).result().samples
    for other in others:
        made = engine.submit(other).result().samples
        assert len(made) != len(sound) or not np.array_equal(made, sound)
