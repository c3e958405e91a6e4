"""Where jobs are handed in, watched and stopped: what the command line and the server hold.

Any number of processes may look and pause; a job is run by the one that holds its lock. Knows
jobs as a whole; lines are spoken in `runner`, survival of crashes is `durable`'s.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path, PurePath

from kouji.audio.encode import format_of
from kouji.config import Settings
from kouji.errors import JobError, KoujiError, UsageError
from kouji.jobs.folder import JobFolder, unwritable
from kouji.jobs.gather import result_of
from kouji.jobs.job import JobInfo, JobLine, JobOptions, JobResult, JobState, Speakers
from kouji.jobs.ledger import Ledger, Row, database_url
from kouji.jobs.reading import MAX_SEED, MAX_TOLD, check_lines, read_lines
from kouji.jobs.shift import Shift
from kouji.subtitles import FORMATS
from kouji.types import LANGUAGE_MODES

LEAVING_SECONDS = 10.0  # within which a run that was written down as over lets go of its job
WATCH_SECONDS = 0.5  # between two looks at a job that may be run by another process
MAX_NAME = 200


class JobCentre:
    """All jobs of this home; safe to use from many threads.

    A process runs jobs in one centre at a time; centres without speakers only look, pause and
    cancel, and there may be many.
    """

    def __init__(self, settings: Settings, speakers: Speakers | None = None) -> None:
        """Open the database; a run begins with the first job.

        speakers: who speaks; None where this process never runs a job
        raises:   JobError where the database cannot be used, ConfigError for a wrong setting
        """
        self._settings, self._speakers = settings, speakers
        self._home = settings.home / "jobs"
        self._url = database_url(settings)
        self._ledger = Ledger(self._url)
        self._shift = Shift(settings, self._ledger, self._url, self.folder_of, speakers)

    # --- handing in

    def submit(
        self,
        name: str,
        content: bytes,
        options: JobOptions | None = None,
        *,
        owner: str = "",
        is_begun: bool = True,
    ) -> JobInfo:
        """Read a file and begin to speak it; returns at once.

        name:     of the file; its suffix says how it is read, unless the options do
        content:  its bytes
        owner:    the id of a key; empty: the operator, and whoever needs no key
        is_begun: False leaves it waiting for a `resume`, here or in another process
        returns:  the new job, or the unfinished job of this very file, options and owner, which
                  then goes on
        raises:   JobError, UsageError, naming the line at fault, before anything is spoken
        """
        options = options or JobOptions()
        lines = read_lines(name, content, options.kind)
        return self.submit_lines(name, lines, options, owner=owner, is_begun=is_begun)

    def submit_lines(
        self,
        name: str,
        lines: Iterable[JobLine],
        options: JobOptions | None = None,
        *,
        owner: str = "",
        is_begun: bool = True,
    ) -> JobInfo:
        """The same for lines that were read already; `name` is for people."""
        options, lines = options or JobOptions(), list(lines)
        check_lines(lines, name)
        self._check_options(options)
        self._check_voices(lines, options, owner, name)
        # Timed lines are spoken in the order they are heard in, whatever the file's order.
        lines.sort(key=lambda line: 0.0 if line.start is None else line.start)
        key = _key(lines, options, owner)
        with self._handing_in():
            row = self._ledger.unfinished(key) or self._new(name, lines, options, owner, key)
        if is_begun and not self._goes_on(row):
            return self.resume(row.id)
        return self._info(row)

    def _check_options(self, options: JobOptions) -> None:
        format_of("", options.format)
        if wrong := [name for name in options.subtitles if name not in FORMATS]:
            allowed = ", ".join(FORMATS)
            raise UsageError("unknown kind of subtitles", seen=", ".join(wrong), allowed=allowed)
        if not 0 <= options.seed <= MAX_SEED:
            raise UsageError("seed out of range", seen=options.seed, allowed="0 to 2^63 - 1")
        if options.language is not None and options.language not in LANGUAGE_MODES:
            allowed = ", ".join(LANGUAGE_MODES)
            cure = "name one of these, or leave it out"
            raise UsageError("unknown language", seen=options.language, allowed=allowed, cure=cure)
        if not -70.0 <= options.lufs <= -5.0:
            raise UsageError("loudness out of range", seen=options.lufs, allowed="-70 to -5 LUFS")

    def _check_voices(
        self, lines: list[JobLine], options: JobOptions, owner: str, name: str
    ) -> None:
        """Ask about each voice once, and name the first lines of those that are refused."""
        speakers = self._needed_speakers()
        default = options.voice or self._settings.default_voice
        first: dict[str, str] = {}
        for number, line in enumerate(lines, start=1):
            first.setdefault(line.voice or default, line.where or f"line {number}")
        faults = []
        for voice, where in first.items():
            try:
                speakers.check(voice, options.model, owner)
            except KoujiError as error:
                if len(first) == 1:
                    raise
                faults.append(f"{where}: {error}")
                if len(faults) > MAX_TOLD:
                    break
        if faults:
            told = "; ".join(faults[:MAX_TOLD])
            more = "; and more" if len(faults) > MAX_TOLD else ""
            raise JobError(f"{name} cannot be spoken: {told}{more}")

    def _new(
        self, name: str, lines: list[JobLine], options: JobOptions, owner: str, key: str
    ) -> Row:
        shown = PurePath(name.replace("\\", "/")).name[:MAX_NAME]
        num_characters = sum(len(line.text) for line in lines)
        row = Row(
            id=secrets.token_hex(8),
            name="".join(char for char in shown if char.isprintable()) or "lines",
            owner=owner,
            key=key,
            num_lines=len(lines),
            num_characters=num_characters,
            characters_left=num_characters,
            options=options,
            is_timed=lines[0].start is not None,
            out=str(options.out.expanduser().resolve()) if options.out else "",
        )
        folder = self.folder_of(row)
        folder.make(row.id, lines)
        try:
            self._ledger.add(row)
        except BaseException:
            folder.remove()
            raise
        return row

    @contextmanager
    def _handing_in(self) -> Iterator[None]:
        """One at a time on this machine: two that hand in the same file get the same job."""
        try:
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = (self._home / ".handing-in").open("ab")
        except OSError as error:
            raise unwritable(error, self._home) from error
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # --- looking

    def list(self, owner: str | None = None) -> list[JobInfo]:
        """The newest first. owner: shows its own jobs alone; None shows all."""
        return [self._info(row) for row in self._ledger.all() if _may_see(row, owner)]

    def get(self, job_id: str, owner: str | None = None) -> JobInfo:
        """How a job stands; JobError if there is none, or none this owner may see."""
        return self._info(self._row(job_id, owner))

    def events(self, job_id: str) -> Iterator[JobInfo]:
        """How the job stands now and after each change, until it is over (`JobState.is_over`)."""
        last: JobInfo | None = None
        while last is None or not last.state.is_over:
            info = self.get(job_id)
            if last is None or (info.version, info.state) != (last.version, last.state):
                last = info
                yield info
            if not info.state.is_over:
                self._shift.wait_for_change(WATCH_SECONDS)

    async def watch(self, job_id: str) -> AsyncIterator[JobInfo]:
        """`events` for an event loop."""
        last: JobInfo | None = None
        while last is None or not last.state.is_over:
            info = await asyncio.to_thread(self.get, job_id)
            if last is None or (info.version, info.state) != (last.version, last.state):
                last = info
                yield info
            if not info.state.is_over:
                # Another process may run it, and none of its events reaches this one.
                await asyncio.sleep(WATCH_SECONDS)

    def wait(self, job_id: str, timeout_seconds: float | None = None) -> JobInfo:
        """Until the job is over, or the time is up."""
        end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            info = self.get(job_id)
            left = WATCH_SECONDS if end is None else min(WATCH_SECONDS, end - time.monotonic())
            if info.state.is_over or left <= 0:
                return info
            self._shift.wait_for_change(left)

    def result(self, job_id: str) -> JobResult:
        """Where the result lies."""
        row = self._row(job_id)
        return result_of(self.folder_of(row), row.options)

    # --- stopping and going on

    def pause(self, job_id: str) -> JobInfo:
        """Stop after the line being spoken, whichever process runs it; returns at once."""
        return self._stop(job_id, "pause", JobState.PAUSED)

    def cancel(self, job_id: str) -> JobInfo:
        """As `pause`, for good; what was spoken stays."""
        return self._stop(job_id, "cancel", JobState.CANCELLED)

    def _stop(self, job_id: str, wanted: str, state: JobState) -> JobInfo:
        row = self._row(job_id)
        if row.state in (JobState.FINISHED, JobState.FINISHED_WITH_ERRORS, JobState.CANCELLED):
            raise JobError("this job is over", seen=row.state.value)
        self._ledger.update(job_id, wanted=wanted)
        lock = self.folder_of(row).lock()
        if lock is None and self.folder_of(row).is_held():
            self._shift.tell()  # whoever runs it looks after each line
            return self.get(job_id)
        try:
            row = self._row(job_id)  # it may have ended in this moment
            if not row.state.is_over or row.state in (JobState.PAUSED, JobState.FAILED):
                self._ledger.update(job_id, state=state, error="")
        finally:
            if lock is not None:
                lock.close()
        self._shift.tell()
        return self.get(job_id)

    def resume(self, job_id: str) -> JobInfo:
        """Go on with a job that stands still, in this process.

        Lines that failed are tried again, and what a cancelled job lacks is spoken.
        raises: JobError if it is finished without errors, or run by another process
        """
        self._needed_speakers()
        row = self._row(job_id)
        if row.state is JobState.FINISHED:
            raise JobError("this job is finished", cure="remove it to speak the file anew")
        folder = self.folder_of(row)
        if not (folder.path / "lines.jsonl").is_file():
            raise JobError("the files of this job are not here", seen=folder.path)
        if not self._call_back(row) and not self._take(row, folder):
            raise JobError("this job is being spoken already", cure="pause it first")
        return self.get(job_id)

    def _goes_on(self, row: Row) -> bool:
        """Somebody runs it, and was not told to stop: who was may hold it a moment longer."""
        return self.folder_of(row).is_held() and row.wanted == "run" and not row.state.is_over

    def _call_back(self, row: Row) -> bool:
        """Let a job go on that was told to stop and has not yet, whichever process runs it."""
        while row.wanted != "run" and not row.state.is_over and self.folder_of(row).is_held():
            if self._ledger.update(row.id, {"state": row.state}, wanted="run"):
                return True
            row = self._row(row.id)
        return False

    def _take(self, row: Row, folder: JobFolder) -> bool:
        """Run a job here, unless another process does; one that has just ended is waited for."""
        end = time.monotonic() + LEAVING_SECONDS
        while (lock := folder.lock()) is None:
            if not self._row(row.id).state.is_over or time.monotonic() > end:
                return False
        self._shift.take(self._row(row.id), lock)
        return True

    def continue_all(self) -> tuple[JobInfo, ...]:
        """Go on with every job whose process died or was closed; a server does it at its start."""
        self._needed_speakers()
        begun = []
        for row in reversed(self._ledger.all()):
            if self._info(row).state is not JobState.INTERRUPTED:
                continue
            lock = self.folder_of(row).lock()
            if lock is not None:
                self._shift.take(row, lock)
                begun.append(self.get(row.id))
        return tuple(begun)

    def remove(self, job_id: str) -> None:
        """Forget a job with its result; JobError while it runs.

        A result that was written to a folder of the caller's choice stays there.
        """
        row = self._row(job_id)
        folder = self.folder_of(row)
        lock = folder.lock()
        if lock is None and folder.is_held():
            raise JobError("this job is being spoken", cure="cancel it first")
        try:
            self._ledger.remove(job_id)
            folder.remove()
        finally:
            if lock is not None:
                lock.close()

    def close(self) -> None:
        """Stop after the lines being spoken; unfinished jobs wait for the next `continue_all`."""
        self._shift.close()
        self._ledger.close()

    def __enter__(self) -> JobCentre:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- inside

    def folder_of(self, row: Row) -> JobFolder:
        """The files of a job."""
        return JobFolder(self._home / row.id, Path(row.out) if row.out else None)

    def _needed_speakers(self) -> Speakers:
        if self._speakers is None:
            raise JobError("nobody in this process speaks jobs", cure="open it with speakers")
        return self._speakers

    def _row(self, job_id: str, owner: str | None = None) -> Row:
        row = self._ledger.get(job_id)
        if row is None or not _may_see(row, owner):
            raise JobError("no such job", seen=job_id[:60], cure="run: kouji job list")
        return row

    def _info(self, row: Row) -> JobInfo:
        """The row as callers see it; a job that should run and has no process is interrupted."""
        folder = self.folder_of(row)
        state = row.state
        if not state.is_over and not folder.is_held():
            # It may have ended between the two looks.
            row = self._ledger.get(row.id) or row
            state = row.state if row.state.is_over else JobState.INTERRUPTED
        return JobInfo(
            id=row.id,
            name=row.name,
            state=state,
            owner=row.owner,
            num_lines=row.num_lines,
            num_done=row.num_done,
            num_failed=row.num_failed,
            eta_seconds=row.eta_seconds if state is JobState.RUNNING else None,
            created=row.created,
            updated=row.updated,
            error=row.error or None,
            folder=folder.result,
            options=row.options,
            is_timed=row.is_timed,
            version=row.version,
        )


def _may_see(row: Row, owner: str | None) -> bool:
    return owner is None or row.owner == owner


def _key(lines: list[JobLine], options: JobOptions, owner: str) -> str:
    """Hash of all a job's result depends on, and of its owner."""
    digest = hashlib.sha256(json.dumps([asdict(options), owner], default=str).encode())
    for line in lines:
        digest.update(json.dumps(asdict(replace(line, where=""))).encode())
    return digest.hexdigest()
