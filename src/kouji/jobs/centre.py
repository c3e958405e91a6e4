"""Where jobs are handed in, watched and stopped: what the command line and the server hold.

Any number of processes may look and pause; a job is run by the one that holds its lock. Knows
jobs as a whole; lines are spoken in `runner`, survival of crashes is `durable`'s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

from kouji.config import Settings
from kouji.jobs.job import JobInfo, JobLine, JobOptions, JobResult, Speakers


class JobCentre:
    """All jobs of this home; safe to use from many threads.

    A process runs jobs in one centre at a time; centres without speakers only look, pause and
    cancel, and there may be many.
    """

    def __init__(self, settings: Settings, speakers: Speakers | None = None) -> None:
        """Open nothing yet.

        speakers: who speaks; None where this process never runs a job
        """
        raise NotImplementedError

    def submit(
        self, name: str, content: bytes, options: JobOptions | None = None, *, owner: str = ""
    ) -> JobInfo:
        """Read a file and begin to speak it; returns at once.

        name:    of the file; its suffix says how it is read, unless the options do
        content: its bytes
        owner:   the id of a key; empty: everybody on this machine
        returns: the new job, or the unfinished job of this very file, options and owner, which
                 then goes on
        raises:  JobError, UsageError, naming the line at fault, before anything is spoken
        """
        raise NotImplementedError

    def submit_lines(
        self,
        name: str,
        lines: Iterable[JobLine],
        options: JobOptions | None = None,
        *,
        owner: str = "",
    ) -> JobInfo:
        """The same for lines that were read already; `name` is for people."""
        raise NotImplementedError

    def list(self, owner: str | None = None) -> list[JobInfo]:
        """The newest first. owner: shows its own and everybody's jobs; None shows all."""
        raise NotImplementedError

    def get(self, job_id: str, owner: str | None = None) -> JobInfo:
        """How a job stands; JobError if there is none, or none this owner may see."""
        raise NotImplementedError

    def events(self, job_id: str) -> Iterator[JobInfo]:
        """How the job stands now and after each change, until it is over (`JobState.is_over`)."""
        raise NotImplementedError

    def watch(self, job_id: str) -> AsyncIterator[JobInfo]:
        """`events` for an event loop."""
        raise NotImplementedError

    def pause(self, job_id: str) -> JobInfo:
        """Stop after the line being spoken, whichever process runs it; returns at once."""
        raise NotImplementedError

    def resume(self, job_id: str) -> JobInfo:
        """Go on with a paused, interrupted, failed or cancelled job, in this process.

        Lines that failed are tried again. raises: JobError if it is finished without errors
        """
        raise NotImplementedError

    def cancel(self, job_id: str) -> JobInfo:
        """As `pause`, for good; what was spoken stays."""
        raise NotImplementedError

    def remove(self, job_id: str) -> None:
        """Forget a job with its result; JobError while it runs."""
        raise NotImplementedError

    def result(self, job_id: str) -> JobResult:
        """Where the result lies."""
        raise NotImplementedError

    def wait(self, job_id: str, timeout_seconds: float | None = None) -> JobInfo:
        """Until the job is over, or the time is up."""
        raise NotImplementedError

    def continue_all(self) -> tuple[JobInfo, ...]:
        """Go on with every job whose process died or was closed; a server does it at its start."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop after the lines being spoken; unfinished jobs wait for the next `continue_all`."""
        raise NotImplementedError
