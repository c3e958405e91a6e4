"""Pieces that take several render calls: rows at different calls, of any length, in one batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from engine_harness import assert_equal, make_request, small_engine, streamed
from fake_model import FakeDevice, FakeSegment, Mishap, fake_model

from kouji.engine.batcher import Batcher
from kouji.engine.jobs import Job, Phase, Row
from kouji.engine.scheduler import Limits, Scheduler
from kouji.errors import Cancelled, DeadlineExceeded, EngineFailed

CALLS = 5
WAIT = 0.01


def row_of(
    acoustic: int, *, since: float, is_midway: bool = False, packs: bool = True, haste: bool = False
) -> Row:
    job = Job("a", 1, lane="w", render_lane="w", pool=None, is_streamed=haste, packs_rows=packs)
    row = job.open_row()
    row.acoustic_cost, row.ready_since, row.is_midway = acoustic, since, is_midway
    return row


def test_a_row_in_the_middle_is_due_at_once_and_takes_along_who_waits() -> None:
    midway, waiting = row_of(100, since=1.0, is_midway=True), row_of(700, since=0.999)
    action, _ = Batcher(8, WAIT).pick([waiting, midway], 1.0)
    assert action is not None
    assert action.rows == (midway, waiting)
    assert Batcher(8, WAIT).pick([waiting], 1.0) == (None, pytest.approx(1.009))


def test_a_row_in_the_middle_does_not_wait_for_an_older_one_of_other_length() -> None:
    midway = row_of(100, since=1.0, is_midway=True, packs=False)
    waiting = row_of(700, since=0.999, packs=False)
    batcher = Batcher(8, WAIT)
    action, _ = batcher.pick([waiting, midway], 1.0)
    assert action is not None
    assert action.rows == (midway,)
    midway.ready_since = 1.02  # after its next call: the other one is due before it
    action, _ = batcher.pick([waiting, midway], 1.02)
    assert action is not None
    assert action.rows == (waiting,)


def test_rows_of_any_length_share_calls_only_where_nothing_is_padded() -> None:
    lengths = (10, 100, 1000)
    for packs, count in ((True, 3), (False, 1)):
        rows = [row_of(length, since=0.0, packs=packs) for length in lengths]
        action, _ = Batcher(8, WAIT).pick(rows, 1.0)
        assert action is not None
        assert len(action.rows) == count
    for row in rows:
        row.job.packs_rows, row.acoustic_cost, row.vocode_cost = True, 0, row.acoustic_cost
    action, _ = Batcher(8, WAIT).pick(rows, 1.0)
    assert action is not None
    assert len(action.rows) == 1, "it says nothing of the vocoder"


def test_who_waits_for_a_first_sound_shares_the_call_before_older_rows() -> None:
    rows = [row_of(50, since=float(number), haste=True) for number in range(4)]
    rows[0].job.has_spoken = rows[1].job.has_spoken = True
    action, _ = Batcher(3, WAIT).pick(rows, 9.0)
    assert action is not None
    assert action.rows == (rows[2], rows[3], rows[0])


@pytest.mark.parametrize("has_decoder", [True, False])
def test_company_at_other_calls_changes_nothing(has_decoder: bool) -> None:
    """Requests of all lengths, whole and streamed, that arrive while others are in the middle."""
    device, mishap = FakeDevice(), Mishap()
    model = fake_model(mishap=mishap, has_decoder=has_decoder, num_calls=CALLS)
    requests = [
        make_request(model, FakeSegment("x" * size, size), FakeSegment("end", 3), seed=size)
        for size in (3, 9, 14, 25, 40)
    ]
    requests += [streamed(request) for request in requests]
    with small_engine(device) as engine:
        alone = [engine.submit(request).result() for request in requests]
        mishap.batches.clear()
        device.gate.clear()
        tickets = [engine.submit(request) for request in requests]
        device.gate.set()
        for ticket, wanted in zip(tickets, alone, strict=True):
            assert_equal(ticket.result(), wanted)
        assert max(rows for stage, rows in mishap.batches if stage == "acoustic") > 1
    for whole, pieces in zip(alone[:5], alone[5:], strict=True):
        assert_equal(whole, pieces)


def test_a_request_that_is_left_in_the_middle_makes_no_further_call() -> None:
    """Cancelled, or out of time: both between two calls of one piece."""
    calls, is_in, may_go = [], threading.Event(), threading.Event()

    def check(stage: str, segments: Sequence[FakeSegment]) -> None:
        if stage == "acoustic":
            calls.append(len(segments))
            is_in.set()
            assert may_go.wait(10)

    model = fake_model(mishap=Mishap(check), num_calls=1000)
    now = [0.0]
    with small_engine(clock=lambda: now[0], render_wait_ms=0.0) as engine:
        ticket = engine.submit(make_request(model))
        assert is_in.wait(10)
        ticket.cancel()
        may_go.set()
        with pytest.raises(Cancelled):
            ticket.result()
        assert len(calls) == 1

        calls.clear()
        is_in.clear()
        may_go.clear()
        ticket = engine.submit(make_request(model, deadline_seconds=5.0))
        assert is_in.wait(10)
        now[0] = 6.0
        may_go.set()
        with pytest.raises(DeadlineExceeded):
            ticket.result()
        assert len(calls) == 1


def scheduled(call: float, step: float, *, is_awaited: bool, num_turns: int = 600) -> list[str]:
    """What is done while one row decodes and another is in the middle of a piece for ever."""
    scheduler, now, done = Scheduler(Limits(), Batcher(8, WAIT)), 0.0, []
    for phase in (Phase.DECODE, Phase.RENDER):
        is_streamed = is_awaited and phase is Phase.RENDER
        job = Job(
            "a", 1, lane="w", render_lane="w", pool="p", packs_rows=True, is_streamed=is_streamed
        )
        scheduler.add(job)
        row = job.open_row()
        row.phase = phase
    row.acoustic_cost, row.is_midway = 100, True
    for _ in range(num_turns):
        action, _ = scheduler.decide(now)
        assert action is not None
        done.append(action.kind)
        now += step if action.kind == "step" else call
        row.ready_since = now if action.kind == "acoustic" else row.ready_since
    return done


@pytest.mark.parametrize(("call", "step"), [(0.4, 0.05), (0.05, 0.05), (0.006, 0.05)])
def test_calls_and_steps_take_the_same_time(call: float, step: float) -> None:
    done = scheduled(call, step, is_awaited=False)
    share = call * done.count("acoustic") / (step * done.count("step"))
    assert 0.8 < share < 1.25


def test_a_first_sound_is_made_in_one_go_and_starves_nobody() -> None:
    done = scheduled(0.4, 0.05, is_awaited=True, num_turns=200)
    runs = [len(run) for run in "".join(kind[0] for kind in done).split("s")]
    assert Scheduler.CALLS_IN_A_ROW in runs
    assert max(runs) <= Scheduler.CALLS_IN_A_ROW + 1


def test_a_call_that_fails_in_the_middle_fails_its_row_alone() -> None:
    device, seen = FakeDevice(), [0]

    def check(stage: str, segments: Sequence[FakeSegment]) -> None:
        if stage == "acoustic" and any(segment.text == "guilty" for segment in segments):
            seen[0] += 1
            if seen[0] > 2:
                raise ValueError("no")

    texts = ["one", "guilty", "three"]
    with small_engine(device, render_wait_ms=50.0) as engine:
        model = fake_model(num_calls=CALLS)
        alone = {text: engine.submit(make_request(model, text)).result() for text in texts}
        device.gate.clear()
        model = fake_model(mishap=Mishap(check), num_calls=CALLS)
        tickets = {text: engine.submit(make_request(model, text)) for text in texts}
        device.gate.set()
        with pytest.raises(EngineFailed, match="ValueError"):
            tickets["guilty"].result()
        for text in ("one", "three"):
            assert_equal(tickets[text].result(), alone[text])
