"""The scheduler with a fake runner: no tensors, no threads, a clock that is a number."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.engine.batcher import Batcher
from kouji.engine.jobs import Action, Job, Phase, Row
from kouji.engine.scheduler import Limits, Scheduler
from kouji.errors import Cancelled, EngineBusy

SEATS = 3
WAIT = 0.005


class FakeJob(Job):
    """A job whose segments take `lengths` steps, with switches for its caller's moods."""

    def __init__(
        self,
        lengths: list[int],
        client: str = "a",
        *,
        pool: str | None = "kv",
        lane: str = "w",
        deadline: float | None = None,
        is_background: bool = False,
        is_exact: bool = False,
    ) -> None:
        super().__init__(
            client,
            len(lengths),
            lane=lane,
            render_lane=lane,
            pool=pool,
            is_background=is_background,
            is_exact=is_exact,
            deadline=deadline,
        )
        self.lengths, self.left = lengths, list(lengths)
        self.has_left = self.is_slow = False
        self.heard: list[int] = []
        self.ends: list[str] = []

    @property
    def is_cancelled(self) -> bool:
        return self.has_left

    @property
    def is_full(self) -> bool:
        return self.is_slow


class FakeRunner:
    """Moves rows along as the real one would, and ends jobs as the worker does."""

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits(seats=SEATS, batch=2)
        self.scheduler = Scheduler(limits, Batcher(limits.batch, WAIT))
        self.now = 0.0
        self.actions: list[Action] = []
        self.seconds: dict[str, float] = {}
        self.is_guilty: Callable[[Row], bool] = lambda row: False

    def add(self, job: FakeJob) -> FakeJob:
        self.scheduler.add(job)
        return job

    def turn(self) -> bool:
        """One decision; False if there is nothing to do but wait for news."""
        for job, error in self.scheduler.overdue(self.now):
            self.end(job, "cancelled" if isinstance(error, Cancelled) else "late")
        action, wake_at = self.scheduler.decide(self.now)
        self.scheduler.check_integrity()
        if action is None:
            self.now = self.now if wake_at is None else max(self.now, wake_at)
            return wake_at is not None
        self.now += self.seconds.get(action.kind, 0.001)
        self.actions.append(action)
        self.compute(action)
        self.scheduler.check_integrity()
        return True

    def compute(self, action: Action) -> None:
        assert len({row.job.lane for row in action.rows}) == 1
        if action.kind == "begin":
            self.scheduler.seats.update(
                {row.job.pool: SEATS for row in action.rows if row.job.pool}
            )
        assert all(row in row.job.rows for row in action.rows), "a row of an ended job"
        for row in action.rows:
            if not self.is_guilty(row):
                self.move(action.kind, row)
            elif not row.job.ends:  # type: ignore[attr-defined]
                self.end(row.job, "failed")
        for job in {id(row.job): row.job for row in action.rows}.values():
            while job.rows and job.rows[0].phase is Phase.DONE:
                job.heard.append(job.rows[0].index)  # type: ignore[attr-defined]
                job.has_spoken = True
                job.close_row()
            if job.is_finished and not job.ends:  # type: ignore[attr-defined]
                self.end(job, "finished")

    def move(self, kind: str, row: Row) -> None:
        job = row.job
        assert isinstance(job, FakeJob)
        row.ready_since = self.now
        if kind in ("begin", "step"):
            assert row.phase is (Phase.BEGIN if kind == "begin" else Phase.DECODE)
            job.left[row.index] -= 1
            is_made = job.pool is None or job.left[row.index] <= 0
            row.phase = Phase.RENDER if is_made else Phase.DECODE
            row.acoustic_cost = job.lengths[row.index] if is_made else 0
        elif kind == "acoustic":
            row.acoustic_cost, row.vocode_cost = 0, row.acoustic_cost
        else:
            row.vocode_cost, row.phase = 0, Phase.DONE

    def end(self, job: Job, how: str) -> None:
        assert isinstance(job, FakeJob)
        self.scheduler.end(job)
        job.ends.append(how)

    def run(self, max_turns: int = 10_000) -> None:
        for _ in range(max_turns):
            if not self.turn():
                return
        raise AssertionError("it never comes to an end")

    def kinds(self) -> list[str]:
        return [action.kind for action in self.actions]


def test_one_request_goes_through_all_stages() -> None:
    runner = FakeRunner()
    job = runner.add(FakeJob([3]))
    runner.run()
    assert runner.kinds() == ["begin", "step", "step", "acoustic", "vocode"]
    assert (job.heard, job.ends) == ([0], ["finished"])


def test_without_decode_stage_no_seat_is_taken() -> None:
    runner = FakeRunner()
    runner.add(FakeJob([3, 3], pool=None))
    assert runner.turn()
    assert not any(row.is_seated for row in runner.scheduler.rows())
    runner.run()
    assert set(runner.kinds()) == {"begin", "acoustic", "vocode"}


def test_rows_join_and_leave_a_running_batch() -> None:
    runner = FakeRunner()
    runner.add(FakeJob([9]))
    while runner.kinds().count("step") < 3:
        runner.turn()
    late = runner.add(FakeJob([4]))
    runner.run()
    sizes = [len(action.rows) for action in runner.actions if action.kind == "step"]
    assert sizes[:3] == [1, 1, 1]
    assert max(sizes) == 2
    assert late.ends == ["finished"]


def test_weights_take_turns() -> None:
    runner = FakeRunner()
    runner.add(FakeJob([20], lane="one"))
    runner.add(FakeJob([20], lane="two"))
    runner.run()
    steps = [action.rows[0].job.lane for action in runner.actions if action.kind == "step"]
    assert steps.count("one") == steps.count("two")
    # Steps of both interleave: neither runs away while the other waits.
    for number in range(2, len(steps)):
        assert abs(steps[:number].count("one") - steps[:number].count("two")) <= 2


def test_clients_take_turns() -> None:
    """A client with one request is not behind another's hundred."""
    runner = FakeRunner()
    flood = [runner.add(FakeJob([5], "flood")) for _ in range(9)]
    single = runner.add(FakeJob([5], "single"))
    while not single.ends:
        assert runner.turn()
    assert sum(bool(job.ends) for job in flood) <= SEATS


def test_a_first_chunk_goes_before_a_later_one() -> None:
    runner = FakeRunner(Limits(seats=SEATS, batch=8))
    book = runner.add(FakeJob([4] * 50))
    for _ in range(30):
        runner.turn()
    late = runner.add(FakeJob([4]))
    while not late.ends:
        assert runner.turn()
    assert len(book.heard) < 15


def test_newcomers_do_not_starve_the_old() -> None:
    runner = FakeRunner(Limits(seats=SEATS, max_queue=1000, max_requests=1000, batch=2))
    old = runner.add(FakeJob([3] * 12, "old"))
    for number in range(600):
        if len(runner.scheduler.jobs) < 40:
            runner.add(FakeJob([3], f"client {number}"))
        runner.turn()
        if old.ends:
            break
    assert old.ends == ["finished"]


def test_a_slow_reader_stops_only_itself() -> None:
    runner = FakeRunner()
    slow = [runner.add(FakeJob([3, 3, 3], "slow")) for _ in range(SEATS)]
    for job in slow:
        job.is_slow = True
    quick = runner.add(FakeJob([3, 3], "quick"))
    runner.run()
    assert quick.ends == ["finished"]
    assert not any(job.heard for job in slow)
    for job in slow:
        job.is_slow = False
    runner.run()
    assert all(job.ends == ["finished"] for job in slow)


def test_a_full_queue_refuses() -> None:
    runner = FakeRunner(Limits(seats=SEATS, max_queue=2, batch=2))
    for _ in range(2 + SEATS):
        runner.add(FakeJob([2]))
    with pytest.raises(EngineBusy, match="allowed: 5 waiting"):
        runner.add(FakeJob([2]))
    runner.run()
    runner.add(FakeJob([2]))
    runner.run()


def test_slow_readers_do_not_fill_the_engine_for_ever() -> None:
    runner = FakeRunner(Limits(seats=SEATS, max_requests=4, batch=2))
    for _ in range(4):
        runner.add(FakeJob([2])).is_slow = True
    with pytest.raises(EngineBusy, match="4 in all"):
        runner.add(FakeJob([2]))


def test_a_caller_who_left_frees_its_seats_before_the_next_step() -> None:
    runner = FakeRunner()
    jobs = [runner.add(FakeJob([50])) for _ in range(SEATS)]
    waiting = runner.add(FakeJob([2]))
    for _ in range(8):
        runner.turn()
    assert waiting.num_admitted == 0
    jobs[0].has_left = True
    runner.turn()
    assert jobs[0].ends == ["cancelled"]
    assert waiting.num_admitted == 1


def test_deadlines_end_jobs_and_wake_the_engine() -> None:
    runner = FakeRunner()
    late = runner.add(FakeJob([500], deadline=0.05))
    queued = FakeJob([2], deadline=0.5)
    runner.add(queued).is_slow = True
    runner.run()
    assert late.ends == queued.ends == ["late"]


def test_segments_ahead_are_bounded() -> None:
    runner = FakeRunner(Limits(seats=SEATS, segments_ahead=2, batch=2))
    job = runner.add(FakeJob([4] * 6))
    while not job.ends:
        runner.turn()
        assert len(job.rows) <= 2
    assert job.heard == list(range(6))


def test_rendering_and_decoding_have_the_same_time() -> None:
    runner = FakeRunner(Limits(seats=SEATS, batch=1))
    runner.seconds = {"step": 0.01, "vocode": 0.1}
    for length in (40, 10, 2):
        runner.add(FakeJob([length]))
    while not runner.scheduler.jobs[0].rows or len(runner.scheduler.jobs) > 1:
        assert runner.turn()
    kinds = runner.kinds()
    first, second = (index for index, kind in enumerate(kinds) if kind == "vocode")
    assert kinds[first:second].count("step") >= 10


def test_what_a_listener_waits_for_is_not_put_off() -> None:
    runner = FakeRunner(Limits(seats=SEATS, batch=1))
    runner.seconds = {"step": 0.01, "vocode": 1.0}
    runner.add(FakeJob([300]))
    for length in (2, 3):
        runner.add(FakeJob([length])).is_streamed = True
    while len(runner.scheduler.jobs) > 1:
        assert runner.turn()
    kinds = runner.kinds()
    first, second = (index for index, kind in enumerate(kinds) if kind == "vocode")
    assert kinds[first:second].count("step") <= 3


def test_a_listener_waits_for_one_prompt_and_a_small_batch() -> None:
    runner = FakeRunner(Limits(seats=8, batch=8))
    job = runner.add(FakeJob([4] * 12))
    job.is_streamed = True
    while not job.has_spoken:
        assert runner.turn()
        assert len(job.rows) <= 2
    assert len(runner.actions[0].rows) == 1
    runner.run()
    assert max(len(action.rows) for action in runner.actions) > 2
    assert job.ends == ["finished"]


def background(lengths: list[int], client: str = "job", **options: str | None) -> FakeJob:
    return FakeJob(lengths, client, is_background=True, **options)  # type: ignore[arg-type]


def kinds_of(runner: FakeRunner, first: int) -> list[bool]:
    """Of each batch from the numbered one on, whether it was background work."""
    return [action.rows[0].job.is_background for action in runner.actions[first:]]


@pytest.mark.parametrize("pool", ["kv", None])
def test_what_nobody_waits_for_goes_last_in_every_stage(pool: str | None) -> None:
    runner = FakeRunner(Limits(seats=SEATS, batch=2, max_requests=100))
    for _ in range(3):
        runner.add(background([6, 6, 6], pool=pool))
    for _ in range(7):  # rows of it are in all stages
        runner.turn()
    start = len(runner.actions)
    listener = runner.add(FakeJob([5, 5, 5], pool=pool))
    while not listener.ends:
        assert runner.turn()
    assert not any(kinds_of(runner, start)), "nothing of it ran while somebody waited"
    runner.run()
    assert all(kinds_of(runner, len(runner.actions) - 5))
    assert runner.scheduler.jobs == []


def test_a_batch_holds_either_kind() -> None:
    runner = FakeRunner(Limits(seats=8, batch=8))
    for _ in range(3):
        runner.add(background([5, 5]))
        runner.add(FakeJob([5, 5]))
    runner.run()
    for action in runner.actions:
        assert len({row.job.is_background for row in action.rows}) == 1


def test_a_slow_reader_leaves_the_device_to_the_background() -> None:
    runner = FakeRunner()
    slow = runner.add(FakeJob([3, 3]))
    job = runner.add(background([3, 3]))
    slow.is_slow = True
    runner.run()
    assert job.ends == ["finished"]


def test_a_listener_finds_a_seat() -> None:
    runner = FakeRunner()
    for _ in range(3):
        runner.add(background([50, 50]))
    for _ in range(8):
        runner.turn()
    assert sum(row.is_seated for row in runner.scheduler.rows()) == SEATS - 1
    listener = runner.add(FakeJob([3]))
    runner.turn()
    assert listener.num_admitted == 1


def test_the_background_never_fills_the_queue() -> None:
    limits = Limits(seats=SEATS, max_queue=8, max_requests=20, batch=2)
    runner = FakeRunner(limits)
    for _ in range(2):
        runner.add(background([9]))
    with pytest.raises(EngineBusy, match="allowed: 2 waiting, 5 in all"):
        runner.add(background([9]))
    for _ in range(8 + SEATS):  # as many as without it
        runner.add(FakeJob([2]))
    with pytest.raises(EngineBusy):
        runner.add(FakeJob([2]))
    runner.run()
    assert runner.scheduler.jobs == []


@pytest.mark.parametrize("pool", ["kv", None])
def test_rows_of_an_exact_request_are_alone_in_every_batch(pool: str | None) -> None:
    runner = FakeRunner(Limits(seats=8, batch=8))
    exact = [runner.add(FakeJob([5, 5, 6], is_exact=True, pool=pool)) for _ in range(2)]
    others = [runner.add(FakeJob([5, 5, 6], pool=pool)) for _ in range(2)]
    runner.run()
    assert all(job.ends == ["finished"] for job in (*exact, *others))
    sizes: dict[bool, set[int]] = {True: set(), False: set()}
    for action in runner.actions:
        assert len({row.job.is_exact for row in action.rows}) == 1
        sizes[action.is_exact].add(len(action.rows))
    assert sizes[True] == {1}
    assert max(sizes[False]) > 1
    assert not runner.scheduler._lanes


def test_the_only_seat_is_given_back() -> None:
    """Rows of the background that sit where a listener wants to are not put off for ever."""
    runner = FakeRunner(Limits(seats=1, batch=2))
    runner.scheduler.seats["kv"] = 1
    job = runner.add(background([4]))
    runner.turn()
    listener = runner.add(FakeJob([2]))
    runner.run()
    assert job.ends == listener.ends == ["finished"]


SCRIPT = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "add", "leave", "slow", "quick", "turn", "turn", "turn"]),
        st.integers(0, 2**16),
    ),
    max_size=120,
)


@settings(deadline=None, max_examples=150)
@given(script=SCRIPT, guilt=st.integers(0, 12))
def test_whatever_happens_every_request_ends_once(
    script: list[tuple[str, int]], guilt: int
) -> None:
    """Promise 3, over random arrivals, cancels, deadlines, failures and slow readers."""
    runner = FakeRunner(Limits(seats=SEATS, max_queue=6, max_requests=20, batch=3))
    chance = random.Random(guilt)
    runner.is_guilty = lambda row: guilt > 6 and chance.random() < 0.03
    jobs: list[FakeJob] = []
    for event, value in script:
        if event == "add":
            job = FakeJob(
                [1 + value % 7] * (1 + value // 7 % 4),
                f"client {value % 3}",
                pool=("kv", "other", None)[value // 28 % 3],
                lane=f"{('kv', 'other', None)[value // 28 % 3]}/{value // 84 % 2}",
                deadline=runner.now + value % 50 / 1000 if value % 5 == 0 else None,
                is_background=value % 11 < 4,
                is_exact=value % 13 < 4,
            )
            try:
                jobs.append(runner.add(job))
            except EngineBusy:
                peers = [
                    other
                    for other in runner.scheduler.jobs
                    if other.is_background == job.is_background
                ]
                most, total = (1, 5) if job.is_background else (6, 20)
                waiting = sum(other.num_admitted == 0 for other in peers)
                assert waiting >= most or len(peers) == total
        elif event == "turn":
            runner.turn()
        elif jobs:
            job = jobs[value % len(jobs)]
            job.has_left |= event == "leave"
            job.is_slow = event == "slow" or (job.is_slow and event != "quick")
    for job in jobs:
        job.is_slow = False
    runner.run()
    assert runner.scheduler.jobs == []
    for job in jobs:
        assert len(job.ends) == 1, "ended once"
        assert job.heard == list(range(len(job.heard))), "in order"
        assert job.rows == []
        if job.ends == ["finished"]:
            assert len(job.heard) == job.num_segments
