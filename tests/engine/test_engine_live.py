"""Rows whose text is still being written: parked for nothing, never spun on, always let go of."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from engine_harness import assert_empty, assert_equal, make_request, small_engine, streamed
from fake_live import CONFIG, SAMPLING, LivePiece, fake_live_model
from fake_model import FakeDevice, FakeOutOfMemory, FakeSegment, Mishap

from kouji.engine.engine import Engine, Ticket
from kouji.engine.request import EngineRequest, EngineResult
from kouji.engine.scheduler import Scheduler
from kouji.errors import Cancelled, DeadlineExceeded, EngineFailed
from kouji.models.stages import SpeechModel

TEXT = [(7 * place) % 50 for place in range(33)]


def request_of(
    model: SpeechModel, piece: LivePiece, *, is_streamed: bool = True, **options: object
) -> EngineRequest:
    request = make_request(model, piece, sampling=SAMPLING, **options)
    return streamed(request) if is_streamed else request


def written_at_once(name: str = "live") -> LivePiece:
    piece = LivePiece.of(name)
    piece.text_so_far.feed(TEXT)
    piece.text_so_far.close()
    return piece


def spoken(engine: Engine, model: SpeechModel, **options: object) -> EngineResult:
    return engine.submit(request_of(model, written_at_once(), **options)).result()


def wait_until(condition: Callable[[], bool]) -> None:
    """Until the engine's thread has come so far; gives up after a while."""
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it never came so far"
        time.sleep(0.002)


def is_parked(engine: Engine) -> bool:
    scheduler = engine._worker._scheduler
    return any(row.is_parked for row in list(scheduler.rows()))


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_when_text_comes_changes_nothing(seed: int, is_streamed: bool) -> None:
    """Pieces of all sizes, at once or after the engine waits for them, in company or alone."""
    draw = random.Random(seed)
    with small_engine() as engine:
        model = fake_live_model()
        wanted = spoken(engine, model, is_streamed=is_streamed)
        assert len(wanted.samples) > 100
        company = [engine.submit(make_request(model, FakeSegment("x", 60))) for _ in range(2)]
        piece = LivePiece.of()
        ticket = engine.submit(request_of(model, piece, is_streamed=is_streamed))
        rest = list(TEXT)
        while rest:
            count = draw.randint(1, 9)
            assert piece.text_so_far.feed(rest[:count])
            del rest[:count]
            if draw.random() < 0.5:
                wait_until(lambda: is_parked(engine))
        piece.text_so_far.close()
        assert_equal(ticket.result(), wanted)
        for each in company:
            each.result()


def test_sound_comes_before_the_text_is_whole() -> None:
    with small_engine() as engine:
        piece = LivePiece.of()
        piece.text_so_far.feed(TEXT[:12])
        ticket = engine.submit(request_of(fake_live_model(), piece))
        first = next(ticket)  # it would wait for ever
        assert len(first.samples)
        piece.text_so_far.feed(TEXT[12:])
        piece.text_so_far.close()
        samples = [first.samples, *(chunk.samples for chunk in ticket)]
        whole = spoken(engine, fake_live_model())
        np.testing.assert_array_equal(np.concatenate(samples), whole.samples)


def test_a_row_that_waits_costs_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine sleeps while all that is inside waits for text."""
    count = [0]
    decide = Scheduler.decide

    def counted(self: Scheduler, now: float) -> object:
        count[0] += 1
        return decide(self, now)

    monkeypatch.setattr(Scheduler, "decide", counted)
    with small_engine() as engine:
        pieces = [LivePiece.of() for _ in range(3)]
        tickets = [engine.submit(request_of(fake_live_model(), piece)) for piece in pieces]
        wait_until(lambda: engine.stats().rows == {"decode": 3} and is_parked(engine))
        time.sleep(0.05)
        before = count[0]
        time.sleep(0.2)
        assert count[0] - before <= 1
        for piece in pieces:
            piece.text_so_far.feed(TEXT)
            piece.text_so_far.close()
        for ticket in tickets:
            ticket.result()


def test_rows_that_wait_are_in_no_batch_and_hold_up_no_render() -> None:
    mishap = Mishap()
    with small_engine() as engine:
        model = fake_live_model(mishap=mishap)
        tickets = [engine.submit(request_of(model, LivePiece.of())) for _ in range(3)]
        wait_until(lambda: engine.stats().rows == {"decode": 3})
        mishap.batches.clear()
        for _ in range(3):
            engine.submit(make_request(model, FakeSegment("other", 30))).result()
        assert {rows for stage, rows in mishap.batches if stage == "step"} == {1}
        for ticket in tickets:
            ticket.cancel()
            with pytest.raises(Cancelled):
                ticket.result()


def test_who_leaves_or_runs_out_of_time_while_waiting_frees_the_seat() -> None:
    with small_engine(max_seats=1) as engine:
        model = fake_live_model()
        piece = LivePiece.of()
        ticket = engine.submit(request_of(model, piece))
        wait_until(lambda: is_parked(engine))
        ticket.cancel()
        with pytest.raises(Cancelled):
            ticket.result()
        assert piece.text_so_far.feed([1])  # nobody hears of it, and it harms nobody
        late = engine.submit(request_of(model, LivePiece.of(), deadline_seconds=0.05))
        with pytest.raises(DeadlineExceeded):
            late.result()
        assert len(spoken(engine, model).samples) > 100
        assert_empty(engine)


def test_closing_the_engine_ends_rows_that_wait() -> None:
    with small_engine() as engine:
        ticket = engine.submit(request_of(fake_live_model(), LivePiece.of()))
        wait_until(lambda: is_parked(engine))
        engine.close()
        with pytest.raises(Cancelled):
            ticket.result()


def test_a_text_that_stops_coming_is_taken_for_ended() -> None:
    with small_engine(live_idle_seconds=0.1) as engine:
        piece = LivePiece.of()
        piece.text_so_far.feed(TEXT)
        result = engine.submit(request_of(fake_live_model(), piece)).result()
        assert "stopped coming" in result.outcomes[0].warnings[0]
        assert not piece.text_so_far.feed([1]), "whoever writes on is told"
        np.testing.assert_array_equal(result.samples, spoken(engine, fake_live_model()).samples)


def test_a_slot_that_is_full_ends_the_row_with_a_warning() -> None:
    with small_engine(max_positions=120) as engine:
        piece = LivePiece.of()
        piece.text_so_far.feed(TEXT * 10)
        result = engine.submit(request_of(fake_live_model(), piece)).result()
        assert len(result.samples) > 100
        assert "did not come to an end" in result.outcomes[0].warnings[0]
        assert not piece.text_so_far.feed(TEXT), "whoever writes on is told"


@pytest.mark.parametrize("stage", ["extend", "step"])
@pytest.mark.parametrize("error", [ValueError, FakeOutOfMemory])
def test_only_the_guilty_row_fails(stage: str, error: type[Exception]) -> None:
    def check(now: str, segments: Sequence[FakeSegment]) -> None:
        if now == stage and any(segment.text == "guilty" for segment in segments):
            raise error("no")

    device = FakeDevice()
    with small_engine(device) as engine:
        wanted = spoken(engine, fake_live_model())
        model = fake_live_model(mishap=Mishap(check))
        device.gate.clear()
        tickets: list[Ticket] = [
            engine.submit(request_of(model, written_at_once(name)))
            for name in ("live", "guilty", "live")
        ]
        device.gate.set()
        with pytest.raises(EngineFailed, match=error.__name__):
            tickets[1].result()
        for ticket in (tickets[0], tickets[2]):
            np.testing.assert_array_equal(ticket.result().samples, wanted.samples)


def test_a_script_that_breaks_fails_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from kouji.models.cosyvoice.decode.bistream import LiveText

    at = LiveText.at

    def broken(self: LiveText, place: int) -> int | None:
        if place == 3 and self.ids[:1] == (49,):
            raise ValueError("the script is torn")
        return at(self, place)

    monkeypatch.setattr(LiveText, "at", broken)
    with small_engine() as engine:
        model, bad = fake_live_model(), LivePiece.of()
        bad.text_so_far.feed([49, *TEXT])
        good, ticket = (engine.submit(request_of(model, each)) for each in (written_at_once(), bad))
        with pytest.raises(EngineFailed, match="torn"):
            ticket.result()
        assert len(good.result().samples) > 100


def test_what_steers_is_neither_heard_nor_guarded() -> None:
    """The renderer is fed sounds only, `fill` among them nowhere."""
    from fake_model import FakeRow

    fed: list[list[int]] = []
    feed = FakeRow.feed

    def noted(self: FakeRow, tokens: Sequence[int], *, is_final: bool) -> None:
        fed.append(list(tokens))
        feed(self, tokens, is_final=is_final)

    with pytest.MonkeyPatch.context() as patch, small_engine() as engine:
        patch.setattr(FakeRow, "feed", noted)
        outcome = spoken(engine, fake_live_model()).outcomes[0]
    assert all(token < CONFIG.first_stop for tokens in fed for token in tokens)
    assert outcome.num_tokens == len(fed[-1])
    assert outcome.warnings == ()


def test_many_texts_are_written_at_once() -> None:
    """Writers of all speeds, some of whom leave; no seat is lost."""
    with small_engine(max_queue=40) as engine:
        wanted = spoken(engine, fake_live_model())
        results: dict[int, object] = {}

        def write(number: int) -> None:
            draw, piece = random.Random(number), LivePiece.of()
            ticket = engine.submit(request_of(fake_live_model(), piece))
            for token in TEXT:
                piece.text_so_far.feed([token])
                if draw.random() < 0.2:
                    time.sleep(0.002)
                if number % 3 == 0 and draw.random() < 0.05:
                    ticket.cancel()
                    return
            piece.text_so_far.close()
            results[number] = ticket.result().samples

        threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) >= 10
        for samples in results.values():
            np.testing.assert_array_equal(samples, wanted.samples)
        wait_until(lambda: engine.stats().num_requests == 0)
