"""The guard inside the engine: decoded again, the best kept, and told."""

from __future__ import annotations

import numpy as np
import pytest
from engine_harness import make_request, small_engine, streamed
from fake_model import TOKEN_SAMPLES, FakeSegment, fake_model

from kouji.engine.guard import GuardOptions


def test_a_loop_is_decoded_again_and_told() -> None:
    with small_engine(prefix_bytes=0) as engine:
        model = fake_model()
        retries = []
        for seed in range(24):
            request = make_request(model, FakeSegment("flaky", 20, "flaky"), seed=seed)
            [outcome] = engine.submit(request).result().outcomes
            retries.append(outcome.retries)
            assert bool(outcome.warnings) == (outcome.num_tokens != 20)
            assert not outcome.warnings or outcome.retries == 2
        assert set(retries) == {0, 1, 2}
        stats = engine.stats()
        assert stats.num_retries == sum(retries)
        assert model.decoder.num_prefills == 24, "a retry costs no prefill"


def test_a_good_neighbour_hears_nothing_of_it() -> None:
    with small_engine() as engine:
        model = fake_model()
        request = make_request(model, FakeSegment("good", 30), seed=5)
        alone = engine.submit(request).result()
        bad = [
            engine.submit(make_request(model, FakeSegment("bad", 20, "loops"))) for _ in range(3)
        ]
        np.testing.assert_array_equal(engine.submit(request).result().samples, alone.samples)
        for ticket in bad:
            [outcome] = ticket.result().outcomes
            assert outcome.retries == 2
            assert "the longest this text should take" in outcome.warnings[0]


def test_what_is_spoken_of_a_hopeless_segment_ends_before_the_loop() -> None:
    with small_engine() as engine:
        result = engine.submit(make_request(fake_model(), FakeSegment("x", 20, "loops"))).result()
        [outcome] = result.outcomes
        assert 0 < outcome.num_tokens < 50
        assert outcome.num_samples == len(result.samples) == outcome.num_tokens * TOKEN_SAMPLES


def test_the_guard_can_be_turned_off() -> None:
    with small_engine() as engine:
        request = make_request(
            fake_model(), FakeSegment("x", 20, "loops"), guard=GuardOptions(is_on=False)
        )
        [outcome] = engine.submit(request).result().outcomes
        assert (outcome.retries, outcome.num_tokens) == (0, 160)
        assert "cut after 160 tokens" in outcome.warnings[0]
        assert engine.stats().num_retries == 0


def test_zero_retries_only_warn() -> None:
    with small_engine() as engine:
        request = make_request(
            fake_model(), FakeSegment("x", 20, "mumbles"), guard=GuardOptions(max_retries=0)
        )
        [outcome] = engine.submit(request).result().outcomes
        assert outcome.retries == 0
        assert outcome.warnings


@pytest.mark.parametrize(
    ("first", "later", "index", "retries"),
    [(0.0, 9.0, 0, 0), (0.4, 9.0, 0, 0), (9.0, 0.0, 0, 2), (9.0, 0.0, 1, 0), (0.0, 9.0, 1, 2)],
)
def test_a_stream_retries_only_what_nobody_can_have_heard(
    first: float, later: float, index: int, retries: int
) -> None:
    with small_engine(guard_seconds=first, guard_seconds_later=later) as engine:
        loops = FakeSegment("x", 20, "loops")
        parts = [loops] if index == 0 else [FakeSegment("fine"), loops]
        request = make_request(fake_model(), *parts)
        chunks = list(engine.submit(streamed(request)))
        outcome = chunks[-1].outcome
        assert outcome is not None
        assert outcome.warnings
        own = [chunk.samples for chunk in chunks if chunk.segment_index == index]
        assert outcome.num_samples == sum(len(samples) for samples in own)
        assert outcome.num_samples == outcome.num_tokens * TOKEN_SAMPLES
        assert outcome.retries == retries


def test_a_stream_that_can_be_undone_equals_the_whole() -> None:
    with small_engine(guard_seconds=9.0, guard_seconds_later=9.0) as engine:
        for seed in range(6):
            request = make_request(
                fake_model(), FakeSegment("x", 9, "flaky"), FakeSegment("y", 9, "flaky"), seed=seed
            )
            chunks = list(engine.submit(streamed(request)))
            whole = engine.submit(request).result()
            heard = np.concatenate([chunk.samples for chunk in chunks])
            np.testing.assert_array_equal(heard, whole.samples)
            ends = [chunk.outcome for chunk in chunks if chunk.is_segment_end]
            assert tuple(ends) == whole.outcomes


@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_a_faulty_stream_does_not_depend_on_company(seconds: float) -> None:
    """What can be undone is decided by token counts, not by who happened to be quicker."""
    texts = [FakeSegment("x", 30, "flaky"), FakeSegment("y", 9), FakeSegment("z", 20, "loops")]
    with small_engine(guard_seconds=seconds, guard_seconds_later=seconds) as engine:
        for seed in range(5):
            request = streamed(make_request(fake_model(), *texts, seed=seed))
            alone = engine.submit(request).result()
            company = [engine.submit(make_request(fake_model(), "a", "b", "c")) for _ in range(5)]
            again = engine.submit(request).result()
            assert again.outcomes == alone.outcomes
            np.testing.assert_array_equal(again.samples, alone.samples)
            for ticket in company:
                ticket.result()


def test_a_retry_does_not_depend_on_company() -> None:
    request = make_request(fake_model(), FakeSegment("flaky", 20, "flaky"), seed=3)
    with small_engine() as engine:
        alone = engine.submit(request).result()
        company = [engine.submit(make_request(fake_model(), str(n))) for n in range(6)]
        again = engine.submit(request).result()
        np.testing.assert_array_equal(again.samples, alone.samples)
        assert again.outcomes == alone.outcomes
        for ticket in company:
            ticket.result()
