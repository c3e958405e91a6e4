"""Toy speakers for jobs, and whole processes that run a job with them.

The real product around toy networks. A process tells each line it begins over a pipe, so that a
test can end it at a line of its choice.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kouji.config import Settings
from kouji.errors import UnknownVoice
from kouji.jobs.job import JobOptions
from kouji.voices import Voice, VoiceStore
from kouji.voices.sample import sample_voice

if TYPE_CHECKING:
    from kouji.api import TTS

PATIENCE = 120  # seconds after which a test gives up on a process


@dataclass
class ToySpeakers:
    """One model; the packaged voice, and those kept in the home."""

    tts: Any
    settings: Settings
    on_line: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)

    def check(self, voice: str, model: str, owner: str) -> None:
        if voice != "sample" and voice not in VoiceStore(self.settings.home):
            raise UnknownVoice("no such voice", seen=voice)

    def open(self, voice: str, model: str, owner: str) -> tuple[TTS, Voice]:
        self.on_line()
        self.asked.append(voice)
        if voice == "sample":
            return self.tts, sample_voice()
        return self.tts, VoiceStore(self.settings.home).get(voice)


def file_of(num_lines: int) -> bytes:
    """A CSV whose every line sounds different."""
    rows = [f"l{number},Line {number} is here.,{number}" for number in range(num_lines)]
    return "\n".join(["id,text,seed", *rows]).encode()


@dataclass
class ToyProcess:
    """A process that runs one job to its end, and what it tells meanwhile."""

    process: BaseProcess
    pipe: Connection

    def lines(self, count: int) -> int:
        """Wait until it has begun so many lines; fewer where it ended before."""
        for number in range(count):
            if not self.pipe.poll(PATIENCE):
                raise AssertionError("the process stands still")
            try:
                told = self.pipe.recv()
            except EOFError:
                return number
            if told != "line":
                return number
        return count

    def end(self) -> list[str]:
        """Wait for its end; all it told since."""
        told = []
        try:
            while self.pipe.poll(PATIENCE):
                told.append(self.pipe.recv())
        except EOFError:
            pass
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, "it never ends"
        return told

    def kill(self) -> None:
        """kill -9"""
        self.process.kill()
        self.process.join()


def start(home: Path, content: bytes, **options: Any) -> ToyProcess:
    """Run a job of a CSV file in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "dbos", "kouji.api", "kouji.jobs.centre"])
    mine, other = context.Pipe()
    process = context.Process(target=_run, args=(home, content, other, options), daemon=True)
    process.start()
    other.close()
    return ToyProcess(process, mine)


def _run(home: Path, content: bytes, pipe: Connection, options: dict[str, Any]) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - what dies tells nobody
    from tiny_mini import make_tiny_checkpoint

    from kouji.api import TTS
    from kouji.jobs.centre import JobCentre
    from kouji.models.mini.family import MiniFamily

    database, limit = options.pop("database", ""), options.pop("file_limit", 0)
    settings = Settings(home=home, jobs_database=database)
    family = MiniFamily(make_tiny_checkpoint(), precision="float32")
    with TTS(family, settings) as tts:
        speakers = ToySpeakers(tts, settings, on_line=lambda: pipe.send("line"))
        with JobCentre(settings, speakers) as centre:
            info = centre.submit("lines.csv", content, JobOptions(**options))
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            last = centre.wait(info.id)
            pipe.send(f"{last.state.value}: {last.error}")
    pipe.close()
