"""Failures in every stage: only the guilty fail, seats come back, the engine goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
import pytest
from engine_harness import assert_equal, make_request, small_engine
from fake_model import FakeDevice, FakeFatal, FakeOutOfMemory, FakeSegment, Mishap, fake_model

from kouji.engine.engine import Engine
from kouji.engine.request import EngineResult
from kouji.engine.ticket import Ticket
from kouji.errors import EngineFailed, KoujiError
from kouji.models.stages import Prompt

DECODED = ["prefill", "step", "open_row", "acoustic", "vocode"]


def outcome(ticket: Ticket) -> EngineResult | KoujiError:
    try:
        return ticket.result()
    except KoujiError as error:
        return error


def together(engine: Engine, device: FakeDevice, mishap: Mishap, texts: list[str]) -> list[object]:
    """Submit requests so that their rows meet in batches."""
    device.gate.clear()
    model = fake_model(mishap=mishap)
    tickets = [engine.submit(make_request(model, text)) for text in texts]
    device.gate.set()
    return [outcome(ticket) for ticket in tickets]


@pytest.mark.parametrize("stage", DECODED)
@pytest.mark.parametrize("error", [ValueError, FakeOutOfMemory])
def test_only_the_guilty_request_fails(stage: str, error: type[Exception]) -> None:
    def check(now: str, segments: Sequence[FakeSegment]) -> None:
        if now == stage and any(segment.text == "guilty" for segment in segments):
            raise error("no")

    device, texts = FakeDevice(), ["one", "two", "guilty", "four"]
    with small_engine(device, render_wait_ms=50.0) as engine:
        results = together(engine, device, Mishap(check), texts)
        alone = {text: engine.submit(make_request(fake_model(), text)).result() for text in texts}
        assert engine.is_healthy
        assert engine.stats().ended == {"finished": 7, "failed": 1}
        assert stage == "open_row" or engine.stats().num_splits > 0, "they did meet"
    for text, result in zip(texts, results, strict=True):
        if text == "guilty":
            assert isinstance(result, EngineFailed)
            assert error.__name__ in str(result)
        else:
            assert isinstance(result, EngineResult)
            assert_equal(result, alone[text])
    assert (device.num_releases > 0) == (error is FakeOutOfMemory)


@pytest.mark.parametrize("stage", ["prefill", "step", "acoustic", "vocode"])
def test_out_of_memory_halves_the_batch(stage: str) -> None:
    """More than one row at a time is too much here: nobody fails, everybody goes alone."""

    def check(now: str, segments: Sequence[FakeSegment]) -> None:
        if now == stage and len(segments) > 1:
            raise FakeOutOfMemory

    device, texts = FakeDevice(), ["one", "two", "three", "four"]
    with small_engine(device, render_wait_ms=50.0) as engine:
        results = together(engine, device, Mishap(check), texts)
        for text, result in zip(texts, results, strict=True):
            assert isinstance(result, EngineResult)
            assert_equal(result, engine.submit(make_request(fake_model(), text)).result())
        assert engine.stats().num_splits > 0


def test_memory_that_was_short_once_is_tried_again() -> None:
    calls: list[str] = []

    def check(now: str, segments: Sequence[FakeSegment]) -> None:
        if now == "open":
            calls.append(now)
            if len(calls) == 1:
                raise FakeOutOfMemory

    with small_engine() as engine:
        model = fake_model(mishap=Mishap(check))
        assert len(engine.submit(make_request(model)).result().samples) == 96
    assert len(calls) == 2


def test_no_memory_for_a_cache_fails_the_request_and_says_so() -> None:
    device = FakeDevice()
    device.free_memory = 0
    with small_engine(device, memory_bytes=100) as engine, pytest.raises(KoujiError, match="seat"):
        engine.submit(make_request(fake_model())).result()


@pytest.mark.parametrize(
    ("habit", "message"), [("nan", "no finite numbers"), ("noise", "no finite samples")]
)
def test_numbers_that_are_none_fail_their_row_alone(habit: str, message: str) -> None:
    device = FakeDevice()
    with small_engine(device) as engine:
        device.gate.clear()
        model = fake_model()
        bad = engine.submit(make_request(model, "fine", FakeSegment("bad", 12, habit)))
        good = engine.submit(make_request(model, "hello"))
        device.gate.set()
        with pytest.raises(EngineFailed, match=message):
            bad.result()
        alone = engine.submit(make_request(fake_model(), "hello")).result()
        assert_equal(good.result(), alone)
        assert np.isfinite(alone.samples).all()


def test_a_lost_device_fails_all_and_refuses_from_then_on() -> None:
    def check(now: str, segments: Sequence[FakeSegment]) -> None:
        if now == "step" and any(segment.text == "fatal" for segment in segments):
            raise FakeFatal("the card fell off the bus")

    device = FakeDevice()
    with small_engine(device) as engine:
        results = together(engine, device, Mishap(check), ["one", "fatal", "three"])
        assert all(isinstance(result, EngineFailed) for result in results)
        assert not engine.is_healthy
        assert "fell off the bus" in str(engine.fault)
        with pytest.raises(EngineFailed, match="down"):
            engine.submit(make_request(fake_model()))
        assert engine.stats().num_requests == 0


def test_a_fault_of_our_own_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    from kouji.engine.scheduler import Scheduler

    def decide(self: Scheduler, now: float) -> None:
        raise AssertionError("our own mistake")

    device = FakeDevice()
    with small_engine(device) as engine:
        device.gate.clear()  # the request is inside, and cannot end, before the engine breaks
        ticket = engine.submit(make_request(fake_model()))
        with monkeypatch.context() as patch:
            patch.setattr(Scheduler, "decide", decide)
            device.gate.set()
            with pytest.raises(EngineFailed, match="our own mistake"):
                ticket.result()
        assert not engine.is_healthy


def test_a_renderer_that_stands_still_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from fake_model import FakeRow

    monkeypatch.setattr(FakeRow, "acoustic_cost", 0)
    with small_engine() as engine, pytest.raises(EngineFailed, match="neither sound nor work"):
        engine.submit(make_request(fake_model())).result()


def test_the_device_cannot_be_opened() -> None:
    from dataclasses import replace

    from engine_harness import SMALL

    with Engine(replace(SMALL, device="abacus")) as engine:
        with pytest.raises(EngineFailed, match="abacus"):
            engine.submit(make_request(fake_model())).result()
        assert not engine.is_healthy


def test_memory_that_is_short_while_prompts_are_made_costs_nobody_the_cache() -> None:
    model, calls = fake_model(), []
    assert model.decoder is not None
    prompt = model.decoder.prompt

    def run_short(segment: FakeSegment, voice: str) -> Prompt:
        calls.append(threading.current_thread().name)
        if calls.count("kouji-engine") == 1 and calls[-1] == "kouji-engine":
            raise FakeOutOfMemory("once")
        return prompt(segment, voice)

    model.decoder.prompt = run_short  # type: ignore[method-assign]
    with small_engine() as engine:
        assert len(engine.submit(make_request(model)).result().samples) == 96
