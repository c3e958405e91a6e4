"""The thread that owns the device: asks the scheduler, lets the runner compute, hands sound over.

Everything that waits here waits on one queue of news (a request came, a reader made room, a
reader left), with a timeout where a batch or a deadline is due; nothing looks again and again.
Scheduler and tallies are shared with submitting threads under one lock, which no computation
and no reader ever holds.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable
from typing import cast

import torch

from kouji.engine.attempts import Failures
from kouji.engine.batcher import Batcher
from kouji.engine.heap import trim_heap
from kouji.engine.isolation import DeviceLost, explain
from kouji.engine.jobs import Action
from kouji.engine.rows import LiveJob, SegmentRow
from kouji.engine.runner import Runner
from kouji.engine.scheduler import Limits, Scheduler
from kouji.engine.settings import FALLBACK_SEATS, EngineSettings
from kouji.engine.stats import EngineStats, Tally, snapshot
from kouji.engine.threads import Governor, choose_for_engine
from kouji.engine.trace import Trace, TraceEvent
from kouji.errors import Cancelled, EngineBusy, EngineError, EngineFailed, KoujiError

QUIET_SECONDS = 0.2  # without work, after which freed memory goes back to the system
log = logging.getLogger(__name__)


class Worker:
    """Takes jobs in, works on them on its own thread, ends each of them once."""

    def __init__(
        self,
        settings: EngineSettings,
        make_runner: Callable[[], Runner],
        clock: Callable[[], float],
        trace: Trace | None,
    ) -> None:
        """Prepare; the thread starts with the first job.

        make_runner: opens the device; called on the thread
        """
        limits = Limits(
            max_queue=settings.max_queue,
            max_requests=settings.max_requests,
            seats=settings.max_seats or FALLBACK_SEATS,
            batch=settings.render_batch,
            segments_ahead=settings.segments_ahead,
            idle_seconds=settings.live_idle_seconds,
        )
        batcher = Batcher(settings.render_batch, settings.render_wait_ms / 1000)
        self._scheduler = Scheduler(limits, batcher)
        self._make_runner, self._clock, self._trace = make_runner, clock, trace
        self._num_threads = settings.threads
        self._runner: Runner | None = None
        self._governor: Governor | None = None
        self._tally = Tally()
        # Reentrant: the collector may close the engine in a thread that holds it.
        self._lock = threading.RLock()
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._process: int | None = None  # that the thread runs in
        self._is_closing = False
        self._has_computed = False  # since the heap was trimmed
        self.fault: str | None = None

    # --- called from any thread

    def wake(self) -> None:
        """There is news; reentrant, never blocks."""
        self._news.put(None)

    def add(self, job: LiveJob) -> None:
        """Take a job in.

        raises: EngineBusy, EngineFailed
        """
        self._refuse_in_child()  # before the lock, which a fork may have left locked
        with self._lock:
            self._refuse_if_over()
            if self._thread is None:
                self._start()
            try:
                self._scheduler.add(job)
            except EngineBusy:
                self._tally.ended["refused"] += 1
                raise
            if self._trace is not None:
                self._trace.moment(job.arrived, "arrive", job.request.id)
        self.wake()

    @property
    def is_closing(self) -> bool:
        """Jobs are ended, and no more are taken."""
        return self._is_closing

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="kouji-engine", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            cure = "end some threads, or do not speak while the interpreter ends"
            raise EngineFailed("the engine gets no thread", seen=error, cure=cure) from error
        self._thread, self._process = thread, os.getpid()

    @property
    def _is_in_child(self) -> bool:
        """This process was forked off the one whose thread does the work."""
        return self._process not in (None, os.getpid())

    def _refuse_in_child(self) -> None:
        if self._is_in_child:
            raise EngineFailed(
                "the engine stayed in the process this one was forked from",
                cure="load the model after the fork, or start processes with spawn",
            )

    def _refuse_if_over(self) -> None:
        if self.fault is not None:
            raise EngineFailed("the engine is down", seen=self.fault, cure="restart the process")
        if self._is_closing:
            raise EngineFailed("the engine is closed", cure="open another one")

    def close(self) -> None:
        """End every job as cancelled and join the thread, unless this is the thread."""
        if self._is_in_child:
            return
        with self._lock:
            self._is_closing = True
            thread = self._thread
        self.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def stats(self) -> EngineStats:
        """Counts since the start, and the state now."""
        with self._lock:
            return snapshot(self._tally, self._scheduler, self._runner)

    def check_integrity(self) -> None:
        """AssertionError if a seat or a row was lost; only between batches does it mean much."""
        with self._lock:
            self._scheduler.check_integrity()
            if self._runner is not None:
                self._runner.pools.check_integrity()

    # --- the thread

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                self._runner = self._make_runner()
                self._governor = self._govern()
                while self._turn(self._runner):
                    self._governor.tick()
        except BaseException as error:
            # Not even an interrupt may leave readers waiting for a thread that is gone.
            log.exception("the engine stops")
            with self._lock:
                cause = error.__cause__ if isinstance(error, DeviceLost) else error
                self.fault = f"{type(cause).__name__}: {cause}"
        self._end_all()

    def _govern(self) -> Governor:
        """How many CPU threads compute, as others come and go on this machine."""
        choice = choose_for_engine(self._num_threads, torch.get_num_threads())
        log.info("engine: %s", choice.reason)
        return Governor(choice)

    def _turn(self, runner: Runner) -> bool:
        """One decision and its batch; False when closing."""
        with self._lock:
            if self._is_closing:
                return False
            overdue = self._scheduler.overdue(self._clock())
        for job, error in overdue:
            self._end(cast(LiveJob, job), error)
        with self._lock:
            idle = self._scheduler.idle(self._clock())
        for row in cast(list[SegmentRow], idle):
            row.give_up()
        with self._lock:
            self._scheduler.seats = runner.pools.seats
            action, wake_at = self._scheduler.decide(self._clock())
            is_idle = not self._scheduler.jobs
            if is_idle:  # under the lock: a job that comes in this moment is no fault
                runner.pools.check_integrity()
                self._scheduler.check_integrity()
        if action is None:
            if is_idle and self._has_computed:
                wake_at = self._clock() + QUIET_SECONDS
            if not self._wait(wake_at) and is_idle:
                trim_heap()
                self._has_computed = False
            return True
        self._has_computed = True
        if self._governor is not None:
            self._governor.hold(is_exact=action.is_exact)
        start = self._clock()
        failures = runner.run(action)
        self._note(action, start)
        self._settle(action, failures)
        return True

    def _wait(self, wake_at: float | None) -> bool:
        """Sleep until there is news or it is time; True for news."""
        timeout = None if wake_at is None else max(0.0, wake_at - self._clock())
        has_news = False
        try:
            self._news.get(timeout=timeout)
            has_news = True
            while True:
                self._news.get_nowait()
        except queue.Empty:
            return has_news

    def _note(self, action: Action, start: float) -> None:
        with self._lock:
            self._tally.batch(action.kind, len(action.rows))
        if self._trace is not None:
            end, batch = self._clock(), len(action.rows)
            for row in cast(tuple[SegmentRow, ...], action.rows):
                name = row.job.request.id
                event = TraceEvent(start, end, action.kind, name, row.index, batch)
                self._trace.events.append(event)

    def _settle(self, action: Action, failures: Failures) -> None:
        """End the jobs of rows that failed, and hand over what the others made."""
        for row, failure in failures:
            if not row.job.channel.is_closed:
                self._end(row.job, explain(failure, is_sound=row.job.request.is_sound))
        jobs = {id(row.job): row.job for row in cast(tuple[SegmentRow, ...], action.rows)}
        for job in jobs.values():
            if job.channel.is_closed:
                continue
            if job.has_sound and job.deliver() and not job.has_spoken:
                self._first_audio(job)
            if job.is_finished:
                self._end(job, None)

    def _first_audio(self, job: LiveJob) -> None:
        now = self._clock()
        job.has_spoken = True
        if not job.request.is_sound:
            return
        with self._lock:
            self._tally.first_audio_seconds.append(now - job.arrived)
        if self._trace is not None:
            self._trace.moment(now, "first_audio", job.request.id)

    def _end(self, job: LiveJob, error: KoujiError | None) -> None:
        """The one end of a job: its seats, its place, what its caller holds, the news to them."""
        end = "finished" if error is None else "failed"
        end = "cancelled" if isinstance(error, Cancelled) else end
        if self._runner is not None:
            for row in job.rows:
                self._runner.pools.release(row)
        with self._lock:
            self._scheduler.end(job)
            self._tally.ended[end] += 1
        if self._trace is not None:
            self._trace.moment(self._clock(), end, job.request.id)
        job.on_end()
        job.channel.close(error)

    def _end_all(self) -> None:
        """The thread is leaving: nobody may be left waiting."""
        with self._lock:
            self._is_closing = True
            jobs = cast(list[LiveJob], list(self._scheduler.jobs))
        for job in jobs:
            error: EngineError = Cancelled("the engine was closed", cure="open another one")
            if self.fault is not None:
                error = EngineFailed("the engine broke down", seen=self.fault)
            self._end(job, error)
        self._runner = None
