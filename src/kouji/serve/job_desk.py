"""The jobs of a server: one centre around its loaded models, and what handing in a job costs.

Opens after the models and goes on with what an earlier process left. Everything here reads
files: call it from a thread.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kouji.config import Settings
from kouji.errors import JobError, KoujiError, Overloaded
from kouji.serve.admission import Admission
from kouji.serve.caller import Caller
from kouji.serve.job_speakers import ServerSpeakers
from kouji.serve.models import ModelPool
from kouji.serve.voicebook import VoiceBook

if TYPE_CHECKING:
    from kouji.jobs.centre import JobCentre
    from kouji.jobs.job import JobInfo, JobLine, JobOptions

_LOADING_SECONDS = 5.0
_log = logging.getLogger(__name__)


class JobDesk:
    """Where a server's callers hand in jobs and ask about them."""

    def __init__(self, settings: Settings, voices: VoiceBook, admission: Admission) -> None:
        self._settings, self._voices, self._admission = settings, voices, admission
        self._centre: JobCentre | None = None
        self._fault: KoujiError | None = None

    def open(self, models: ModelPool) -> None:
        """Begin to take jobs, and go on with those that were left; a server speaks without it."""
        try:
            from kouji.jobs.centre import JobCentre

            speakers = ServerSpeakers(models, self._voices)
            self._centre = JobCentre(self._settings, speakers)
            self._centre.continue_all()
        except KoujiError as error:
            self._fault = error
            _log.error("no jobs are taken: %s", error)
        except ImportError as error:
            self._fault = JobError("jobs are not installed here", cure="install kouji[jobs]")
            _log.error("no jobs are taken: %s", error)

    @property
    def centre(self) -> JobCentre:
        """The centre.

        raises: Overloaded until it is open, JobError where it could not be
        """
        if self._fault is not None:
            raise JobError("this server takes no jobs", cure="its operator's log says why")
        if self._centre is None:
            raise Overloaded("the server is starting", retry_after=_LOADING_SECONDS)
        return self._centre

    def hand_in(self, name: str, content: bytes, options: JobOptions, caller: Caller) -> JobInfo:
        """Read a file and begin to speak it for a caller.

        raises: NotAllowed, QuotaExceeded, and what `JobCentre.submit` raises
        """
        from kouji.jobs.reading import read_lines

        caller.require("jobs")
        self.centre  # noqa: B018 - refused before the file is read
        return self.hand_in_lines(name, read_lines(name, content, options.kind), options, caller)

    def hand_in_lines(
        self, name: str, lines: list[JobLine], options: JobOptions, caller: Caller
    ) -> JobInfo:
        """The same for lines that were read already; their characters count against the quota."""
        caller.require("jobs")
        num_characters = sum(len(line.text) for line in lines)
        with self._admission.charged(caller, num_characters):
            return self.centre.submit_lines(name, lines, options, owner=caller.id)

    def close(self) -> None:
        """Stop after the lines being spoken; the next server goes on."""
        if self._centre is not None:
            self._centre.close()
