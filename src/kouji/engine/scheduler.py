"""Decides what the device does next; plain Python over small objects, no tensors, no clock.

Owns the list of jobs, and with it the seats: a row in phase BEGIN or DECODE holds one seat of
its pool, and nothing else does, so there is no count that could go wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kouji.engine.batcher import STAGES, Batcher, Rota
from kouji.engine.jobs import Action, Job, Phase, Row
from kouji.errors import Cancelled, DeadlineExceeded, EngineBusy, EngineError


@dataclass(frozen=True)
class Limits:
    """How much is taken on; see `EngineSettings`.

    max_queue, segments_ahead: 0 follows the number of seats
    seats: of a pool that was not opened yet, for the length of the queue
    idle_seconds: that a row is parked without news of its text
    """

    max_queue: int = 0
    max_requests: int = 0
    seats: int = 16
    batch: int = 8
    segments_ahead: int = 0
    idle_seconds: float = 60.0


class Scheduler:
    """Admission, turns, and the end of jobs. Not thread-safe: its owner locks."""

    QUEUE_PER_SEAT, REQUESTS_PER_SEAT = 4, 16
    SEGMENTS_IN_HASTE = 2
    MOST_OWED_SECONDS = 2.0
    CALLS_IN_A_ROW = 16  # of rendering: a first piece, and whoever began one beside it
    BACKGROUND_SHARE = 4  # one in so many: its places in the queue, the seats it leaves free

    def __init__(self, limits: Limits, batcher: Batcher) -> None:
        self.jobs: list[Job] = []  # in order of arrival
        self.seats: dict[str, int] = {}  # of the pools that are open
        self._limits, self._batcher = limits, batcher
        self._num_arrived = 0
        self._admissions: Rota[Job] = Rota()
        self._beginnings: Rota[Row] = Rota()
        self._clients: dict[str, int] = {}  # the turn at which each was last served
        self._lanes: dict[str, int] = {}
        self._turn = 0
        self._last_kind = 0
        self._due_at: float | None = None  # when the batcher has waited long enough
        self._last_action: Action | None = None
        self._last_time = 0.0
        # To the decode stage, by renders that took longer than a step; below 0, by the last step.
        self._owed_seconds = 0.0
        self._num_calls = 0  # of rendering, since anything else was done

    # --- arrivals and ends

    def add(self, job: Job) -> None:
        """Take a job in.

        raises: EngineBusy if the queue is full
        """
        seats = self._seats(job)
        # Each counts its own kind only: what nobody waits for never turns a listener away.
        peers = [other for other in self.jobs if other.is_background == job.is_background]
        free = max(0, seats - sum(len(other.rows) for other in peers))
        allowed = (self._limits.max_queue or self.QUEUE_PER_SEAT * seats) + free
        max_requests = self._limits.max_requests or self.REQUESTS_PER_SEAT * seats
        if job.is_background:
            allowed = max(1, allowed // self.BACKGROUND_SHARE)
            max_requests = max(1, max_requests // self.BACKGROUND_SHARE)
        num_waiting = sum(other.num_admitted == 0 for other in peers)
        if num_waiting >= allowed or len(peers) >= max_requests:
            raise EngineBusy(
                "the engine has as many requests as it takes",
                seen=f"{num_waiting} waiting of {len(peers)}",
                allowed=f"{allowed} waiting, {max_requests} in all",
                cure="send the request again in a moment",
            )
        job.order = self._num_arrived
        self._num_arrived += 1
        # A newcomer stands where the clock is: behind those who wait already, before those
        # who are served from now on.
        self._clients.setdefault(job.client, self._turn)
        self.jobs.append(job)

    def end(self, job: Job) -> None:
        """Forget a job and free its seats, in whatever state it is."""
        self.jobs.remove(job)
        job.rows.clear()
        if all(other.client != job.client for other in self.jobs):
            del self._clients[job.client]
        if all(other.lane != job.lane for other in self.jobs):
            self._lanes.pop(job.lane, None)
        for index in range(job.num_segments if job.is_exact else 0):
            self._lanes.pop(_own_lane(job, index), None)

    def overdue(self, now: float) -> list[tuple[Job, EngineError]]:
        """Jobs to end now because their caller left or their time is up, and what to say."""
        ends: list[tuple[Job, EngineError]] = []
        for job in self.jobs:
            if job.is_cancelled:
                ends.append((job, Cancelled("the request was cancelled", cure="send it again")))
            elif job.deadline is not None and job.deadline <= now:
                cure = "allow more time, or send fewer requests at once"
                ends.append((job, DeadlineExceeded("the request took too long", cure=cure)))
        return ends

    def idle(self, now: float) -> list[Row]:
        """Rows that have waited too long for text."""
        patient = now - self._limits.idle_seconds
        return [row for row in self.rows() if row.is_parked and row.parked_since <= patient]

    # --- what to do

    def decide(self, now: float) -> tuple[Action | None, float | None]:
        """Admit what there are seats for, and choose the next batch.

        now:     seconds on any clock that never goes back
        returns: the batch, else None; and without a batch, when to ask again, if a wait
                 or a deadline ends then
        """
        self._account(now)
        self._admit(is_background=False)
        self._admit(is_background=True)
        self._last_action = self._choose(now, is_background=False)
        # A batch that waits for mates is due in a moment: what takes longer does not begin now.
        if self._last_action is None and self._due_at is None:
            self._last_action = self._choose(now, is_background=True)
        if self._last_action is not None:
            return self._last_action, None
        times = [job.deadline for job in self.jobs]
        times += [
            row.parked_since + self._limits.idle_seconds for row in self.rows() if row.is_parked
        ]
        return None, min(
            (time for time in (self._due_at, *times) if time is not None), default=None
        )

    def _choose(self, now: float, *, is_background: bool) -> Action | None:
        """Each kind in its turn, as far as there is work of it: no kind can hold up the others."""
        rows = [row for row in self.rows() if row.job.is_background == is_background]
        self._due_at = None
        if (action := self._go_on(rows, now)) is not None:
            return action
        kinds = (self._begin, self._step, self._render)
        for offset in range(1, 1 + len(kinds)):
            number = (self._last_kind + offset) % len(kinds)
            if (action := kinds[number](rows, now)) is not None:
                self._last_kind = number
                return action
        return None

    def rows(self) -> Iterator[Row]:
        """All live rows, job by job."""
        return (row for job in self.jobs for row in job.rows)

    @property
    def queue_length(self) -> int:
        """Jobs that wait for their first seat."""
        return sum(job.num_admitted == 0 for job in self.jobs)

    def _seats(self, job: Job) -> int:
        return self.seats.get(job.pool or "", self._limits.seats)

    def _admit(self, *, is_background: bool) -> None:
        taken = Counter(row.job.pool for row in self.rows() if row.is_seated)
        # Rows without decode stage take no seat; those not rendered yet are kept few, so that
        # late-comers' first segments do not queue behind a long text's hundredth.
        seatless = sum(
            row.is_ready or row.phase is Phase.BEGIN
            for row in self.rows()
            if row.job.pool is None and row.job.is_background == is_background
        )
        while True:
            able = []
            for job in self.jobs:
                if job.is_background != is_background or not self._may_admit(job):
                    continue
                # Of a pool that is not open yet one row goes ahead, and opens it.
                seats = self.seats.get(job.pool, 1) if job.pool else 2 * self._limits.batch
                if is_background and job.pool and seats > 1:  # a listener finds a seat at once
                    seats -= max(1, seats // self.BACKGROUND_SHARE)
                if (taken[job.pool] if job.pool else seatless) < seats:
                    able.append(job)
            if not able:
                return
            job = self._admissions.choose(able, _is_new, self._place_in_line)
            self._turn += 1
            self._clients[job.client] = self._turn
            job.open_row()
            taken[job.pool] += 1
            seatless += job.pool is None

    def _may_admit(self, job: Job) -> bool:
        ahead = self._limits.segments_ahead or self._seats(job)
        if job.is_in_haste:  # every further row makes the steps to its first sound longer
            ahead = min(ahead, self.SEGMENTS_IN_HASTE)
        num_open = job.num_admitted - job.num_delivered
        return job.num_admitted < job.num_segments and num_open < ahead and not job.is_full

    def _place_in_line(self, job: Job) -> tuple[int, int]:
        """Clients in turn, then age."""
        return self._clients[job.client], job.order

    def _begin(self, rows: Sequence[Row], _: float) -> Action | None:
        """Rows that nothing was computed for: a first chunk's before the oldest, of one lane."""
        waiting = [row for row in rows if row.phase is Phase.BEGIN]
        if not waiting:
            return None
        first = self._beginnings.choose(waiting, _is_awaited, _place)
        if first.job.is_exact:
            return Action("begin", (first,))
        # First segments do not wait for the prompts of later ones to be read.
        mates = [
            row
            for row in waiting
            if row.job.lane == first.job.lane
            and _is_awaited(row) == _is_awaited(first)
            and not row.job.is_exact
        ]
        mates = [first, *(row for row in mates if row is not first)]
        return Action("begin", tuple(mates[: self._limits.batch]))

    def _step(self, rows: Sequence[Row], _: float) -> Action | None:
        """All rows that decode in the lane whose turn it is."""
        lanes: dict[str, list[Row]] = {}
        for row in rows:
            if row.is_decoding:
                job = row.job
                lane = _own_lane(job, row.index) if job.is_exact else job.lane
                lanes.setdefault(lane, []).append(row)
        if not lanes:
            return None
        lane = min(lanes, key=lambda name: self._lanes.get(name, -1))
        self._turn += 1
        self._lanes[lane] = self._turn
        return Action("step", tuple(lanes[lane]))

    def _render(self, rows: Sequence[Row], now: float) -> Action | None:
        """A batch that is due; while decoding is owed time, only what a listener waits for."""
        if self._owed_seconds > 0 and any(row.is_seated and not row.is_parked for row in rows):
            patient = now - self.MOST_OWED_SECONDS
            rows = [row for row in rows if row.job.is_in_haste or row.ready_since < patient]
        action, self._due_at = self._batcher.pick(rows, now)
        return action

    def _go_on(self, rows: Sequence[Row], now: float) -> Action | None:
        """The next call of a row in the middle of a piece, before others have their turn.

        A piece may take ten short calls, and would wait for ten steps. So calls may take as long
        as the last step did; and a piece somebody waits for as his first sound is made in one go.
        """
        midway = [row for row in rows if row.is_midway and row.is_ready]
        is_awaited = any(row.job.is_in_haste for row in midway)
        if self._num_calls >= self.CALLS_IN_A_ROW or not midway:
            return None
        return self._render(rows, now) if is_awaited or self._owed_seconds < 0 else None

    def _account(self, now: float) -> None:
        """Let rendering and decoding have the same time, when both have work.

        A render takes as long as many steps. If one step followed each, rows that decode would
        hardly move while one row after another is rendered alone; with equal time they move
        together, and more of them are ready for the next batch.
        """
        if self._last_action is not None:
            seconds = now - self._last_time
            is_render = self._last_action.kind in STAGES
            owed = self._owed_seconds + (seconds if is_render else -seconds)
            if not is_render:
                owed = max(owed, -seconds)  # calls may take as long as the last step did, no more
            self._owed_seconds = min(owed, self.MOST_OWED_SECONDS)
            self._num_calls = self._num_calls + 1 if is_render else 0
        self._last_time = now

    def check_integrity(self) -> None:
        """Every seat is held by a live row of a live job, and no more than there are."""
        taken = Counter(row.job.pool for row in self.rows() if row.is_seated)
        for pool, count in taken.items():
            assert count <= self.seats.get(pool or "", count), f"{count} rows sit in {pool}"
        for job in self.jobs:
            indices = [row.index for row in job.rows]
            assert indices == list(range(job.num_delivered, job.num_admitted)), "a row is lost"
            assert all(row.job is job for row in job.rows)
        assert set(self._clients) == {job.client for job in self.jobs}


def _own_lane(job: Job, index: int) -> str:
    """The lane of a row that is computed alone."""
    return f"{job.lane}/{job.order}/{index}"


def _is_new(job: Job) -> bool:
    return job.num_admitted == 0


def _is_awaited(row: Row) -> bool:
    return row.index == 0


def _place(row: Row) -> tuple[int, int]:
    return row.job.order, row.index
