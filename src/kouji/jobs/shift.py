"""The jobs this process runs: takes them, tells their progress, lets go of them.

Does for each run what `durable` asks, and keeps the database told. Knows which jobs are this
process's; who may run a job at all is decided by the lock its folder holds.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from kouji.audio.provenance import open_signer
from kouji.config import Settings
from kouji.errors import JobError
from kouji.jobs.durable import AGAIN, DONE, Durable
from kouji.jobs.folder import JobFolder, unwritable
from kouji.jobs.gather import gather, write_standing
from kouji.jobs.job import JobLine, JobState, Speakers
from kouji.jobs.ledger import Ledger, Row
from kouji.jobs.runner import Runner, Stopped, Task, produce_id
from kouji.jobs.spoken import SpokenLine

BLOCK_LINES = 8  # in one durable step, which costs some 20 ms; a crash loses no line of it
TELL_SECONDS = 0.5  # between two lines of progress in the database
PAUSED, CANCELLED, RELEASED, STUCK = "paused", "cancelled", "released", "stuck: "
log = logging.getLogger(__name__)


@dataclass
class _Run:
    """One job this process holds.

    states:   of all lines something became of: whether it is sound
    problem:  why nothing can be written for it
    told:     the moment the database was told of it
    """

    row: Row
    folder: JobFolder
    lock: BinaryIO
    runner: Runner | None = None
    produce_id: int = 0
    problem: str = ""
    states: dict[int, bool] = field(default_factory=dict)
    characters_done: int = 0
    characters_left: int = 0
    began: float = 0.0
    told: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)


class Shift:
    """What one process runs; `durable.Work` for it."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        url: str,
        folder_of: Callable[[Row], JobFolder],
        speakers: Speakers | None,
    ) -> None:
        """Start nothing before the first job is taken."""
        self._settings, self._ledger, self._url = settings, ledger, url
        self._folder_of, self._speakers = folder_of, speakers
        self._durable: Durable | None = None
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._closing = threading.Event()

    def take(self, row: Row, lock: BinaryIO) -> None:
        """Run a job from now on; returns at once. The lock is let go of when the run is over.

        raises: JobError
        """
        run = _Run(row, self._folder_of(row), lock)
        is_crashed = row.state is JobState.RUNNING
        try:
            with self._lock:
                durable = self._opened()
                self._runs[row.id] = run
            self._ledger.update(row.id, wanted="run", error="")
            if is_crashed and durable.take_over(row.workflow_id, row.id):
                return
            self._begin_anew(run, durable)
        except BaseException:
            self._runs.pop(row.id, None)
            lock.close()
            raise

    def _begin_anew(self, run: _Run, durable: Durable) -> None:
        """A run of its own, that passes over what is spoken; failed lines are tried again."""
        row = run.row
        states = run.folder.states() if (run.folder.path / "facts").is_dir() else {}
        # What failed is tried again, and so is sound that was removed or cut off: also where
        # nothing else of its block is left to do.
        for number, is_spoken in list(states.items()):
            if not is_spoken or run.folder.load(number) is None:
                run.folder.forget([number])
                states[number] = False
        attempt = row.attempt + 1
        self._ledger.update(row.id, attempt=attempt, state=JobState.WAITING, num_failed=0)
        blocks = {
            number // BLOCK_LINES for number in range(row.num_lines) if not states.get(number)
        }
        durable.start(f"{row.id}.{attempt}", row.id, sorted(blocks))

    def _opened(self) -> Durable:
        if self._closing.is_set():
            raise JobError("jobs were closed", cure="open another JobCentre")
        if self._durable is None:
            self._durable = Durable(self._url, self)
        return self._durable

    # --- what a run does; called by `durable`, in the run's own thread

    def must_stop(self, job_id: str) -> bool:
        """Somebody wants it to stop, or this process ends."""
        return self._closing.is_set() or self._ledger.wanted(job_id) != "run"

    def begin(self, job_id: str) -> None:
        """Look at what is there, and say that it runs."""
        run = self._runs[job_id]
        row, options = run.row, run.row.options
        run.began = time.monotonic()
        try:
            self._look_at(run)
        except OSError as error:  # told by the first step, where it can be written down
            run.problem = str(unwritable(error, run.folder.result))
        assert self._speakers is not None, "only centres with speakers take jobs"
        run.runner = Runner(
            Task(
                job_id,
                row.owner,
                options,
                self._settings.default_voice,
                run.produce_id,
                row.num_lines,
            ),
            run.folder,
            self._speakers,
            must_stop=lambda: self.must_stop(job_id),
            wait=self._closing.wait,
            on_line=lambda spoken, line: self._note(run, spoken, line),
        )
        self._tell(run, state=JobState.RUNNING)

    def _look_at(self, run: _Run) -> None:
        """What of a job is done already. raises: OSError"""
        run.folder.prepare(run.row.id)
        run.states = run.folder.states()
        digest = hashlib.sha256()
        for number, line in run.folder.all_lines():
            digest.update(repr(line).encode())
            if number in run.states and run.folder.load(number) is None:
                del run.states[number]  # its sound was removed or cut off
                run.folder.forget([number])
            if number not in run.states:
                run.characters_left += len(line.text)
        run.produce_id = produce_id(digest.hexdigest(), run.row.options)

    def block(self, job_id: str, number: int) -> str:
        """Speak the lines of a block that nothing became of yet."""
        run = self._runs[job_id]
        assert run.runner is not None, "a run begins before its first block"
        if run.problem:
            return f"{STUCK}{run.problem}"
        lines = run.folder.lines(number * BLOCK_LINES, BLOCK_LINES)
        try:
            run.runner.speak([item for item in lines if item[0] not in run.states])
        except Stopped:
            return self._why_stopped(job_id)
        except JobError as error:
            return f"{STUCK}{error}"
        return DONE

    def _why_stopped(self, job_id: str) -> str:
        wanted = self._ledger.wanted(job_id)
        released = RELEASED if self._closing.is_set() else AGAIN  # it was resumed meanwhile
        return {"pause": PAUSED, "cancel": CANCELLED}.get(wanted, released)

    def gather(self, job_id: str) -> str:
        """Join what was spoken."""
        run = self._runs[job_id]
        if run.problem:
            return f"{STUCK}{run.problem}"
        settings = self._settings
        try:
            if settings.disclosure != "none":
                self._move_notice(run)
            signer = open_signer(settings.c2pa_certificate, settings.c2pa_key)
            gathered = gather(
                run.folder,
                run.row.options,
                run.produce_id,
                signer,
                before_line=lambda: self._stop_if_wanted(job_id),
            )
        except Stopped:
            return self._why_stopped(job_id)
        except JobError as error:
            return f"{STUCK}{error}"
        missing = run.row.num_lines - gathered.num_spoken - gathered.num_failed
        if missing:
            return f"{STUCK}{missing} lines were removed meanwhile; resume the job"
        return JobState.FINISHED_WITH_ERRORS if gathered.num_failed else JobState.FINISHED

    def _stop_if_wanted(self, job_id: str) -> None:
        if self.must_stop(job_id):
            raise Stopped

    def _move_notice(self, run: _Run) -> None:
        """Where the first or last line has no sound, let the next one bear the notice.

        raises: Stopped, JobError
        """
        assert run.runner is not None, "a run begins before it ends"
        while spoken := sorted(number for number, is_sound in run.states.items() if is_sound):
            run.runner.ends = spoken[0], spoken[-1]
            facts = {number: run.folder.load(number) for number in spoken}
            wrong = [n for n, line in facts.items() if line and line.part != run.runner.part_of(n)]
            if not wrong:
                return
            run.folder.forget(wrong)
            for number in wrong:
                del run.states[number]
                run.runner.speak(run.folder.lines(number, 1))

    def settle(self, job_id: str, told: str) -> str:
        """Write down how the run ended."""
        run = self._runs[job_id]
        if told == AGAIN:
            return AGAIN
        if told not in (JobState.FINISHED, JobState.FINISHED_WITH_ERRORS):
            try:
                write_standing(run.folder, run.row.options)
            except OSError as error:
                log.warning("the manifest of job %s cannot be written: %s", job_id, error)
        states = {
            PAUSED: JobState.PAUSED,
            CANCELLED: JobState.CANCELLED,
            RELEASED: JobState.WAITING,
            JobState.FINISHED: JobState.FINISHED,
            JobState.FINISHED_WITH_ERRORS: JobState.FINISHED_WITH_ERRORS,
        }
        reason = told.removeprefix(STUCK) if told.startswith(STUCK) else ""
        # Who resumed it after it looked, and before this, must not find it stopped.
        expect = {PAUSED: {"wanted": "pause"}, CANCELLED: {"wanted": "cancel"}}.get(told)
        state = states.get(told, JobState.PAUSED)
        return told if self._tell(run, expect, state=state, error=reason) else AGAIN

    def leave(self, job_id: str, error: Exception | None) -> None:
        """Let go of a job."""
        run = self._runs.pop(job_id)
        try:
            if error is not None:
                log.error("job %s stopped", job_id, exc_info=error)
                told = f"unexpected {type(error).__name__}: {error}"
                self._ledger.update(job_id, state=JobState.FAILED, error=told[:500])
        except JobError as problem:  # the database went: the job is interrupted, and goes on
            log.error("job %s: %s", job_id, problem)
        finally:
            run.lock.close()
            run.ended.set()
            self.tell()

    # --- progress

    def _note(self, run: _Run, spoken: SpokenLine, line: JobLine) -> None:
        run.states[spoken.number] = spoken.is_spoken
        run.characters_done += len(line.text)
        run.characters_left -= len(line.text)
        if time.monotonic() - run.told >= TELL_SECONDS:
            self._tell(run)

    def _tell(self, run: _Run, expect: Mapping[str, str] | None = None, **values: object) -> bool:
        """Write down how a run stands; False, and nothing, where the row is not as expected."""
        run.told = time.monotonic()
        num_done = sum(run.states.values())
        is_told = self._ledger.update(
            run.row.id,
            expect,
            num_done=num_done,
            num_failed=len(run.states) - num_done,
            characters_done=run.characters_done,
            characters_left=run.characters_left,
            seconds_spent=run.told - run.began,
            **values,
        )
        self.tell()
        return is_told

    def tell(self) -> None:
        """Wake whoever watches jobs in this process."""
        with self._changed:
            self._changed.notify_all()

    def wait_for_change(self, seconds: float) -> None:
        """Until a job of this process changed; `seconds` bound it, as others tell nobody."""
        with self._changed:
            self._changed.wait(seconds)

    def close(self) -> None:
        """Stop what runs after the lines being spoken, and let go of all of it."""
        self._closing.set()
        for run in list(self._runs.values()):
            run.ended.wait()
        if self._durable is not None:
            self._durable.close()
