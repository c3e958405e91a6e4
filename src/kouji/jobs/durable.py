"""Durable execution by DBOS: each run of a job is a workflow, each block of lines a step of it.

What a step returned is in the database before the next one begins; after a crash the workflow
goes on behind the last step that returned. DBOS is one to a process, and so is what is open
here. Each process has a queue of its own, so that a job that is taken over is run by who took it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
from typing import Any, Protocol

from kouji.errors import JobError
from kouji.models.optional import import_library

APP_NAME = "kouji-jobs"
APP_VERSION = "kouji-jobs-2"  # grows when the steps of a workflow change; older ones start anew
QUEUE_PREFIX = "kouji-"
POLL_SECONDS = 0.2  # until a job that was taken over goes on
MAX_RUNNING = 4  # jobs at once in one process; the engine is fair between their owners
ROOM_SECONDS = 0.5  # between two looks at what is wanted of a job that waits for its turn
_lock = threading.Lock()
_open: Durable | None = None
_workflow: Any = None  # registered once in a process; DBOS keeps it


class Work(Protocol):
    """What a run does; each returns a word, and `DONE` lets the next begin."""

    def must_stop(self, job_id: str) -> bool:
        """Somebody wants it to stop; asked while it waits for room."""

    def begin(self, job_id: str) -> None:
        """Before the first block, also of a run that goes on."""

    def block(self, job_id: str, number: int) -> str:
        """Speak a block of lines."""

    def gather(self, job_id: str) -> str:
        """Join what was spoken."""

    def settle(self, job_id: str, told: str) -> str:
        """Write down how the run ended, and with which word it did; `AGAIN`: it has not."""

    def leave(self, job_id: str, error: Exception | None) -> None:
        """The run is over in this process; error: what nobody expected."""


DONE, AGAIN = "done", "again"


class Durable:
    """Runs jobs of one process so that a crash loses nothing but a block under way."""

    def __init__(self, url: str, work: Work) -> None:
        """Connect to the database and be ready to run.

        url: of the database, as SQLAlchemy reads it
        raises: JobError where another centre runs jobs in this process, or the database refuses
        """
        global _open
        self._dbos = import_library("dbos", "running jobs", extra="jobs")
        self._work = work
        self._room = threading.BoundedSemaphore(MAX_RUNNING)
        self._name = f"{QUEUE_PREFIX}{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._has_queue = False
        self._handles: dict[str, Any] = {}
        with _lock:
            if _open is not None:
                raise JobError("this process runs jobs already", cure="close the other JobCentre")
            self._launch(url)
            _open = self

    def _launch(self, url: str) -> None:
        dbos = self._dbos
        _register(dbos)
        config = {
            "name": APP_NAME,
            "system_database_url": url,
            "application_version": APP_VERSION,
            "executor_id": self._name,
            "log_level": "ERROR",  # its greeting tells of a console nobody here has
            "enable_otlp": False,
        }
        try:
            dbos.DBOS(config=config)
            dbos.DBOS.listen_queues([self._name])
            dbos.DBOS.launch()
        except Exception as error:
            dbos.DBOS.destroy()
            raise JobError(
                "the database of jobs cannot be used",
                seen=" ".join(str(error).split())[:300],
                cure="check the setting jobs_database, the folder, and the space left",
            ) from error

    def start(self, workflow_id: str, job_id: str, blocks: list[int]) -> None:
        """Begin a run of these blocks; returns at once."""
        with self._dbos.SetWorkflowID(workflow_id):
            self._handles[job_id] = self._dbos.DBOS.start_workflow(_workflow, job_id, blocks)

    def take_over(self, workflow_id: str, job_id: str) -> bool:
        """Go on with a run whose process is gone; False if there is none that could.

        The caller holds the job's lock: nobody else runs it.
        """
        status = self._dbos.DBOS.get_workflow_status(workflow_id)
        if status is None or status.status not in ("PENDING", "ENQUEUED"):
            return False
        if status.app_version != APP_VERSION:
            return False
        if not self._has_queue:
            self._dbos.DBOS.register_queue(self._name, polling_interval_sec=POLL_SECONDS)
            self._has_queue = True
        resume = self._dbos.DBOS.resume_workflow
        self._handles[job_id] = resume(workflow_id, queue_name=self._name)
        return True

    def close(self) -> None:
        """Let go of the database. Whatever still runs must have been told to stop before."""
        global _open
        with _lock:
            if _open is not self:
                return
            for handle in self._handles.values():
                with contextlib.suppress(Exception):  # how it ended is the job's to tell
                    handle.get_result()
            with contextlib.suppress(Exception):  # a queue that stays is one row
                if self._has_queue:
                    self._dbos.DBOS.delete_queue(self._name)
            self._dbos.DBOS.destroy()
            _open = None

    def run(self, job_id: str, blocks: list[int]) -> str:
        """The body of the workflow; called by DBOS, in a thread of its own."""
        step = self._dbos.DBOS.run_step
        problem: Exception | None = None
        has_room = False
        try:
            # Which steps follow depends on what steps returned and on nothing else.
            while not (has_room := self._room.acquire(timeout=ROOM_SECONDS)):
                if self._work.must_stop(job_id):
                    break
            self._work.begin(job_id)
            while True:
                told = DONE
                for number in blocks:
                    told = step({"name": "speak"}, self._work.block, job_id, number)
                    if told != DONE:
                        break
                else:
                    told = step({"name": "gather"}, self._work.gather, job_id)
                told = str(step({"name": "settle"}, self._work.settle, job_id, told))
                if told != AGAIN:
                    return told
        except Exception as error:
            problem = error
            raise
        finally:
            if has_room:
                self._room.release()
            self._work.leave(job_id, problem)


def _register(dbos: Any) -> None:
    """Make the workflow known to DBOS, which finds it again by its name after a crash."""
    global _workflow
    if _workflow is not None:
        return

    @dbos.DBOS.workflow(name="kouji_job")  # type: ignore[untyped-decorator]
    def kouji_job(job_id: str, blocks: list[int]) -> str:
        if _open is None:
            raise JobError("jobs were closed", cure="resume the job")
        return _open.run(job_id, blocks)

    _workflow = kouji_job
