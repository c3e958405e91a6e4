"""The engine as a whole, on a model of hashes: promises 1, 2, 3 and 6."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from engine_harness import assert_equal, make_request, small_engine, streamed
from fake_model import FakeDevice, FakeSegment, Mishap, fake_model

from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.request import MAX_SEED, EngineRequest, segment_seed
from kouji.engine.settings import EngineSettings
from kouji.engine.trace import Trace
from kouji.errors import ConfigError, KoujiError, TextError, UsageError
from kouji.models.stages import RenderOptions, SamplingOptions


@pytest.fixture
def engine() -> Iterator[Engine]:
    with small_engine() as made:
        yield made


def test_a_request_is_spoken_in_order(engine: Engine) -> None:
    request = make_request(fake_model(), FakeSegment("first", 40), "second", "third")
    result = engine.submit(request).result()
    assert [outcome.index for outcome in result.outcomes] == [0, 1, 2]
    assert [outcome.num_tokens for outcome in result.outcomes] == [40, 12, 12]
    assert [len(samples) for samples in result.segments] == [320, 96, 96]
    assert [outcome.info for outcome in result.outcomes] == ["first", "second", "third"]


def test_what_needs_no_decoding_begins_apart_from_texts_of_one_name() -> None:
    """CosyVoice in one precision: both stages bear one name, and speech is converted beside."""
    reading, saying = fake_model(), fake_model(has_decoder=False)
    for stage in (reading.decoder, reading.renderer, saying.renderer):
        assert stage is not None
        stage.identity = "one name"
    requests = [make_request(model) for model in (reading, saying, reading)]
    with small_engine() as engine:
        alone = [engine.submit(request).result() for request in requests]
    device = FakeDevice()
    device.gate.clear()
    with small_engine(device) as engine:
        tickets = [engine.submit(request) for request in (*requests, *requests)]
        device.gate.set()
        together = [ticket.result() for ticket in tickets]
    for result, expected in zip(together, alone * 2, strict=True):
        assert_equal(result, expected)


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


@pytest.mark.parametrize("has_decoder", [True, False])
def test_a_stream_is_the_whole(engine: Engine, has_decoder: bool) -> None:
    """Promise 2."""
    model = fake_model(has_decoder=has_decoder)
    request = make_request(model, FakeSegment("a longer piece of text", 41), "and one more")
    chunks = list(engine.submit(streamed(request)))
    whole = engine.submit(request).result()
    assert len(chunks) > 2
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


def test_prompts_that_come_again_are_kept(engine: Engine) -> None:
    model = fake_model()
    request = make_request(model, "the same words", "and others")
    results = [engine.submit(request).result() for _ in range(4)]
    for result in results[1:]:
        assert_equal(result, results[0])
    assert model.decoder.num_prefills == 4, "twice each; the second time they were kept"
    stats = engine.stats()
    assert (stats.prefix_hits, stats.prefix_misses) == (4, 4)


def test_other_weights_do_not_share_kept_prompts(engine: Engine) -> None:
    for name in ("one", "two", "one", "two", "one", "two"):
        model = fake_model(name)
        alone = engine.submit(make_request(model, "the same words", seed=3)).result()
        with small_engine(prefix_bytes=0) as fresh:
            assert_equal(
                fresh.submit(make_request(model, "the same words", seed=3)).result(), alone
            )


def test_caches_of_other_shapes_are_opened_beside_each_other(engine: Engine) -> None:
    models = [fake_model("one"), fake_model("two", cache_key="other"), fake_model("three")]
    tickets = [engine.submit(make_request(model, "hello", "world")) for model in models]
    for ticket in tickets:
        ticket.result()
    assert engine.stats().seats == {"fake": 4, "other": 4}


REFUSED = [
    ({"segments": ()}, "no segments"),
    ({"seed": -1}, "seed"),
    ({"seed": MAX_SEED + 1}, "seed"),
    ({"sampling": SamplingOptions(temperature=-1.0)}, "temperature"),
    ({"sampling": SamplingOptions(top_p=1.5)}, "top_p"),
    ({"sampling": SamplingOptions(repetition_penalty=float("nan"))}, "repetition_penalty"),
    ({"render": RenderOptions(speed=0.0)}, "speed"),
    ({"deadline_seconds": 0.0}, "deadline_seconds"),
    ({"segments": (FakeSegment("ok"), FakeSegment("x", 12, "bad"))}, "can be spoken"),
    ({"segments": (FakeSegment("long", 5000),)}, "too long for the cache.*allowed: at most 400"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_bad_requests_are_refused_before_anything_is_computed(
    engine: Engine, change: dict[str, object], message: str
) -> None:
    """Promise 6."""
    mishap = Mishap()
    request = replace(make_request(fake_model(mishap=mishap)), **change)  # type: ignore[arg-type]
    with pytest.raises(KoujiError, match=message) as caught:
        engine.submit(request)
    assert isinstance(caught.value, UsageError | TextError)
    assert mishap.batches == []
    assert engine.stats().num_requests == 0


def test_a_bad_segment_without_decode_stage_fails_alone(engine: Engine) -> None:
    model = fake_model(has_decoder=False)
    bad = engine.submit(make_request(model, FakeSegment("x", 12, "bad")))
    good = engine.submit(make_request(model, "hello"))
    with pytest.raises(TextError):
        bad.result()
    assert len(good.result().samples) == 5 * 8


def test_a_trace_tells_when_what_was_done() -> None:
    trace = Trace.of()
    with Engine(EngineSettings(max_seats=2, max_positions=400), trace=trace) as engine:
        request = make_request(fake_model(), "hello", FakeSegment("world", 20))
        engine.submit(request).result()
    stages = [event.stage for event in trace.events]
    assert stages[0] == "arrive"
    assert stages[-1] == "finished"
    assert {"begin", "step", "acoustic", "vocode", "first_audio"} <= set(stages)
    assert {event.request for event in trace.events} == {request.id}
    assert all(event.start <= event.end for event in trace.events)
    assert max(event.batch for event in trace.events) == 2


def test_statistics_count_what_happened(engine: Engine) -> None:
    for _ in range(3):
        engine.submit(make_request(fake_model(), "hello")).result()
    stats = engine.stats()
    assert stats.ended == {"finished": 3}
    assert (stats.num_tokens, stats.num_retries) == (36, 0)
    assert sum(stats.batches["step"].values()) == 3 * 12
    assert len(stats.first_audio_seconds) == 3


def test_segment_seeds_are_apart() -> None:
    chosen = (0, 1, 2, 2**62, MAX_SEED)
    seeds = {segment_seed(seed, index) for seed in chosen for index in range(500)}
    assert len(seeds) == 2500
    assert all(0 <= seed <= MAX_SEED for seed in seeds)


def test_the_operators_settings_reach_the_engine() -> None:
    made = EngineSettings.from_settings(
        Settings(engine_seats=3, render_batch=2, render_wait_ms=9.0)
    )
    assert (made.max_seats, made.render_batch, made.render_wait_ms) == (3, 2, 9.0)
    with pytest.raises(ConfigError, match="render_batch"):
        EngineSettings(render_batch=0)


def test_a_request_knows_its_defaults() -> None:
    request = EngineRequest(fake_model(), (FakeSegment("x"),))
    assert request.id != EngineRequest(fake_model(), (FakeSegment("x"),)).id


def test_memory_that_open_caches_will_take_is_not_given_to_others() -> None:
    device = FakeDevice()
    slot = 8 * 400
    device.free_memory = device.total_memory = (512 << 20) + 8 * slot
    with small_engine(device, max_seats=0) as engine:
        for model in (fake_model("one"), fake_model("two", cache_key="other")):
            engine.submit(make_request(model)).result()
        assert engine.stats().seats == {"fake": 8, "other": 1}
