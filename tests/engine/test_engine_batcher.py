"""Batches of like length after a bounded wait, and failures told apart by halving."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fake_model import FakeDevice, FakeFatal, FakeOutOfMemory
from hypothesis import given
from hypothesis import strategies as st

from kouji.engine.batcher import LIKE, Batcher, Rota
from kouji.engine.isolation import DeviceLost, Isolation
from kouji.engine.jobs import Job, Row

WAIT = 0.01


def ready_row(
    vocode: int = 0,
    acoustic: int = 0,
    *,
    since: float = 0.0,
    lane: str = "w",
    is_streamed: bool = False,
    is_first: bool = False,
) -> Row:
    job = Job("a", 1, lane=lane, render_lane=lane, pool=None, is_streamed=is_streamed)
    job.has_spoken = not is_first
    row = job.open_row()
    row.vocode_cost, row.acoustic_cost, row.ready_since = vocode, acoustic, since
    return row


def test_nothing_ready_is_nothing_to_do() -> None:
    assert Batcher(4, WAIT).pick([ready_row()], 1.0) == (None, None)


def test_a_row_waits_for_mates_but_not_for_ever() -> None:
    batcher, row = Batcher(4, WAIT), ready_row(100, since=1.0)
    assert batcher.pick([row], 1.001) == (None, pytest.approx(1.01))
    action, _ = batcher.pick([row], 1.01)
    assert action is not None
    assert action.rows == (row,)


def test_a_full_batch_waits_for_nobody() -> None:
    rows = [ready_row(100, since=1.0) for _ in range(5)]
    action, _ = Batcher(4, WAIT).pick(rows, 1.0)
    assert action is not None
    assert len(action.rows) == 4


def test_only_like_lengths_meet() -> None:
    rows = [ready_row(cost) for cost in (100, 129, 131, 20, 90)]
    action, _ = Batcher(8, 0.0).pick(rows, 1.0)
    assert action is not None
    assert sorted(row.vocode_cost for row in action.rows) in ([90, 100], [100, 129])


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.integers(1, 8))
def test_padding_and_size_are_bounded_and_all_get_their_turn(costs: list[int], size: int) -> None:
    batcher = Batcher(size, 0.0)
    rows = [ready_row(cost, since=float(number)) for number, cost in enumerate(costs)]
    while rows:
        action, _ = batcher.pick(rows, 1000.0)
        assert action is not None
        assert rows[0] in action.rows, "the oldest first"
        made = [row.vocode_cost for row in action.rows]
        assert len(made) <= size
        assert max(made) <= LIKE * min(made)
        rows = [row for row in rows if row not in action.rows]


def test_stages_and_weights_do_not_mix() -> None:
    rows = [ready_row(9), ready_row(9, lane="v"), ready_row(acoustic=9), ready_row(9)]
    action, _ = Batcher(8, 0.0).pick(rows, 1.0)
    assert action is not None
    assert (action.kind, action.rows) == ("vocode", (rows[0], rows[3]))


def test_a_first_chunk_goes_before_an_older_row_but_not_always() -> None:
    batcher = Batcher(1, 0.0)
    old = ready_row(50, since=0.0)
    later = ready_row(50, since=1.0, is_streamed=True)
    first = ready_row(50, since=2.0, is_streamed=True, is_first=True)
    rows = [old, later, first]
    chosen = [batcher.pick(rows, 3.0)[0] for _ in range(8)]
    assert [rows.index(each.rows[0]) for each in chosen if each] == [2, 2, 2, 0] * 2
    chosen = [batcher.pick([old, later], 3.0)[0] for _ in range(8)]
    assert [rows.index(each.rows[0]) for each in chosen if each] == [1, 1, 1, 0] * 2


def test_streams_do_not_wait_for_whole_segments_in_their_batch() -> None:
    rows = [ready_row(50, is_streamed=number > 1) for number in range(4)]
    action, _ = Batcher(8, 0.0).pick(rows, 1.0)
    assert action is not None
    assert action.rows == (rows[2], rows[3])


def test_a_rota_prefers_and_does_not_starve() -> None:
    rota: Rota[int] = Rota()
    chosen = [rota.choose([1, 2, 3], lambda item: item > 1, lambda item: item) for _ in range(5)]
    assert chosen == [2, 2, 2, 1, 2]
    assert rota.choose([5, 4], lambda item: False, lambda item: item) == 4


# --- isolation


def isolation() -> tuple[Isolation, list[str]]:
    calls: list[str] = []
    return Isolation(FakeDevice(), lambda: calls.append("relieved")), calls


@given(st.sets(st.integers(0, 15)), st.integers(1, 16))
def test_only_guilty_rows_fail(guilty: set[int], count: int) -> None:
    def function(rows: Sequence[int]) -> list[int]:
        if guilty & set(rows):
            raise ValueError("guilty")
        return [10 * row for row in rows]

    results = isolation()[0].compute(range(count), function)
    assert [row for row, _ in results] == list(range(count))
    for row, result in results:
        assert isinstance(result, ValueError) if row in guilty else result == 10 * row


def test_nothing_is_computed_for_nobody() -> None:
    assert isolation()[0].compute([], lambda rows: 1 / 0) == []  # type: ignore[arg-type, return-value]


def test_memory_is_relieved_before_a_row_is_given_up() -> None:
    guard, calls = isolation()

    def function(rows: Sequence[int]) -> list[int]:
        if not calls:
            raise FakeOutOfMemory
        return list(rows)

    assert guard.compute([1], function) == [(1, 1)]
    assert calls == ["relieved"]


def test_a_row_that_never_fits_fails_after_one_more_try() -> None:
    guard, calls = isolation()
    tries: list[int] = []

    def function(rows: Sequence[int]) -> list[int]:
        tries.append(len(rows))
        raise FakeOutOfMemory

    [(_, error)] = guard.compute([1], function)
    assert isinstance(error, FakeOutOfMemory)
    assert error.__traceback__ is None, "it would hold the tensors of the batch"
    assert (tries, calls) == ([1, 1], ["relieved"])


def test_a_lost_device_is_nobodys_fault() -> None:
    def function(rows: Sequence[int]) -> list[int]:
        raise FakeFatal("gone")

    with pytest.raises(DeviceLost, match="gone"):
        isolation()[0].compute([1, 2], function)


def test_a_stage_that_forgets_a_row_is_at_fault() -> None:
    [(_, error), _] = isolation()[0].compute([1, 2], lambda rows: [0] * (len(rows) + 1))
    assert isinstance(error, ValueError)
