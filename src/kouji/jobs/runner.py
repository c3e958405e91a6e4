"""Speaks the lines of one job, a few at a time, and writes down what becomes of each.

A line fails alone. What would fail every line after it too (a full disk, a lost device) stops
the job instead, so that it can go on later. A full engine is waited for. Knows the api and the
job's files; knows nothing of databases and of what came before this block.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kouji.audio.encode import save_audio
from kouji.audio.labels import label_tags
from kouji.errors import Cancelled, EngineBusy, JobError, KoujiError, ModelError, TextError
from kouji.jobs.fitting import Sound, fit
from kouji.jobs.folder import JobFolder, sync_folder, unwritable
from kouji.jobs.job import JobLine, JobOptions, Speakers
from kouji.jobs.spoken import SpokenLine, file_name, hash_text
from kouji.speech_request import SpeakOptions
from kouji.text.style import Style, parse_style
from kouji.types import Audio

if TYPE_CHECKING:
    from kouji.api import TTS
    from kouji.audio.provenance import ManifestSigner
    from kouji.speaking import SpeechStream
    from kouji.voices import Voice

AT_ONCE = 3  # lines in the engine: the next is ready when one is done
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 2.0  # while the engine is full
LOSSLESS = ("wav", "flac")
log = logging.getLogger(__name__)


class Stopped(Exception):
    """Somebody wants the job to stop; it carries no blame."""


@dataclass(frozen=True)
class Task:
    """What is the same for all lines of a job.

    owner:      whose turn it is in the engine
    produce_id: 32 bits in watermark, label and audit lines of all its sound
    num_lines:  of the whole job
    """

    job_id: str
    owner: str
    options: JobOptions
    default_voice: str
    produce_id: int
    num_lines: int


def produce_id(lines_hash: str, options: JobOptions) -> int:
    """One id for the whole work; the same lines and wishes have the same."""
    wishes = asdict(replace(options, out=None, with_text=False, subtitles=()))
    content = lines_hash + json.dumps(wishes, sort_keys=True)
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big")


@dataclass
class _Begun:
    """A line the engine works on."""

    number: int
    line: JobLine
    tts: TTS
    voice: Voice
    stream: SpeechStream


class Runner:
    """Speaks lines of one job; used by one thread."""

    def __init__(
        self,
        task: Task,
        folder: JobFolder,
        speakers: Speakers,
        *,
        must_stop: Callable[[], bool],
        wait: Callable[[float], object],
        on_line: Callable[[SpokenLine, JobLine], None],
    ) -> None:
        """Open nothing.

        must_stop: asked before each line is begun or finished
        wait:      so many seconds, or less where the job must stop meanwhile
        on_line:   told of each line something became of
        """
        self._task, self._folder, self._speakers = task, folder, speakers
        self._must_stop, self._wait, self._on_line = must_stop, wait, on_line
        self.ends = 0, task.num_lines - 1  # the first and the last line that are heard

    def part_of(self, number: int) -> str:
        """Which part of the joined work a line is: an audible notice belongs at its ends."""
        first, last = self.ends
        if number in self.ends:
            return "whole" if first == last else "first" if number == first else "last"
        return "middle"

    def speak(self, lines: list[tuple[int, JobLine]]) -> None:
        """Speak what nothing became of yet; returns when each line is on the disk, or failed.

        raises: Stopped; JobError for what concerns all lines; then what is done is kept
        """
        waiting = deque(lines)
        begun: deque[_Begun] = deque()
        pause = FIRST_WAIT_SECONDS
        with ExitStack() as streams:
            while waiting or begun:
                if self._must_stop():
                    raise Stopped
                is_full = False
                while waiting and len(begun) < AT_ONCE and not is_full:
                    number, line = waiting[0]
                    try:
                        if one := self._begin(number, line):
                            begun.append(one)
                            streams.callback(one.stream.close)
                        waiting.popleft()
                    except EngineBusy:
                        is_full = True
                if begun:
                    self._finish(begun.popleft())
                    pause = FIRST_WAIT_SECONDS
                elif is_full:
                    # The engine tells nobody when there is room again; listeners go first.
                    self._wait(pause)
                    pause = min(2 * pause, LONGEST_WAIT_SECONDS)
        self._sync()

    def _sync(self) -> None:
        try:
            sync_folder(self._folder.result / "lines")
            sync_folder(self._folder.path / "facts")
        except OSError as error:
            raise unwritable(error, self._folder.path) from error

    def _begin(self, number: int, line: JobLine) -> _Begun | None:
        """Hand a line to the engine; None where it failed, which is then written down.

        raises: EngineBusy
        """
        tts = voice = None
        try:
            tts, voice = self._open(line)
            stream = self._stream(tts, voice, number, line, self._style_of(line))
        except (EngineBusy, Stopped):
            raise
        except Exception as error:
            self._fail(number, line, error, voice, tts)
            return None
        return _Begun(number, line, tts, voice, stream)

    def _open(self, line: JobLine) -> tuple[TTS, Voice]:
        task = self._task
        name = line.voice or task.options.voice or task.default_voice
        return self._speakers.open(name, task.options.model, task.owner)

    def _stream(
        self, tts: TTS, voice: Voice, number: int, line: JobLine, style: str | Style | None
    ) -> SpeechStream:
        task = self._task
        try:
            return tts.stream(
                line.text,
                voice,
                style,
                task.options.seed if line.seed is None else line.seed,
                line.language or task.options.language,
                produce_id=task.produce_id,
                options=SpeakOptions(
                    client=f"job {task.owner or task.job_id}",
                    is_background=True,
                    is_exact=True,
                    part=self.part_of(number),
                ),
                in_chunks=False,
            )
        except KoujiError as error:
            # What is written before a line is spoken (the audit line) met a full disk.
            if isinstance(error.__cause__, OSError):
                raise JobError(error.what, seen=error.seen, cure=error.cure) from error.__cause__
            raise

    def _style_of(self, line: JobLine) -> str | None:
        return line.style or self._task.options.style

    def _finish(self, begun: _Begun) -> None:
        """Read a line's sound and put it on the disk, or write down why there is none."""
        number, line = begun.number, begun.line
        try:
            sound, rate, told = self._heard(begun)
        except Stopped:
            raise
        except Exception as error:
            self._fail(number, line, error, begun.voice, begun.tts)
            return
        spoken = replace(
            self._facts(number, line, begun.voice, begun.tts),
            num_samples=len(sound.samples),
            sample_rate=sound.sample_rate,
            words=tuple((w.text, round(w.start, 4), round(w.end, 4)) for w in sound.words),
            warnings=(*sound.warnings, *([told] if told else [])),
            speech_rate=round(rate, 4),
        )
        try:
            spoken = self._save_sound(spoken, line, sound, begun.tts.signer)
            self._folder.save(spoken)
        except KoujiError as error:
            if not isinstance(error.__cause__, OSError):
                self._fail(number, line, error, begun.voice, begun.tts)
                return
            raise unwritable(error.__cause__, self._folder.result) from error
        except OSError as error:
            raise unwritable(error, self._folder.path) from error
        self._on_line(spoken, line)

    def _heard(self, begun: _Begun) -> tuple[Sound, float, str | None]:
        """All sound of a line, in its slot where it has one."""
        line = begun.line
        sound = collect(begun.stream, begun.tts.sample_rate)
        if line.start is None or line.end is None:
            return sound, 1.0, None

        def speak(rate: float) -> Sound:
            wish = self._style_of(line)
            style = parse_style(wish) if wish else Style()
            faster = replace(style, rate=style.rate * rate)
            with self._patiently(begun, faster) as stream:
                return collect(stream, begun.tts.sample_rate)

        return fit(sound, line.end - line.start, speak)

    def _patiently(self, begun: _Begun, style: Style) -> SpeechStream:
        """The line again in another style, as soon as the engine has room."""
        pause = FIRST_WAIT_SECONDS
        while True:
            try:
                return self._stream(begun.tts, begun.voice, begun.number, begun.line, style)
            except EngineBusy:
                if self._must_stop():
                    raise Stopped from None
                self._wait(pause)
                pause = min(2 * pause, LONGEST_WAIT_SECONDS)

    def _save_sound(
        self, spoken: SpokenLine, line: JobLine, sound: Sound, signer: ManifestSigner | None
    ) -> SpokenLine:
        """The files of a line, each of which appears whole."""
        format = self._task.options.format
        tags = label_tags(f"{self._task.produce_id:08x}")
        audio = Audio(sound.samples, sound.sample_rate)
        if format not in LOSSLESS:
            save_audio(audio, self._folder.part(spoken.number), tags=tags)
        name = file_name(spoken.number, line, format)
        path = self._folder.result / name
        save_audio(audio, path, format=format, tags=tags, signer=signer)
        return replace(spoken, file=name, num_bytes=path.stat().st_size)

    def _fail(
        self,
        number: int,
        line: JobLine,
        error: Exception,
        voice: Voice | None,
        tts: TTS | None,
    ) -> None:
        """Write down why a line has no sound, unless the reason is everybody's.

        raises: Stopped, JobError
        """
        if isinstance(error, JobError):
            raise error
        if isinstance(error, Cancelled) or (tts is not None and tts.engine.is_closed):
            raise Stopped from error
        cure = "correct it and restart the program, then resume the job"
        if isinstance(error, ModelError):
            raise JobError("the model cannot be loaded", seen=error, cure=cure) from error
        if tts is not None and not tts.engine.is_healthy:
            raise JobError("the engine is down", seen=tts.engine.fault, cure=cure) from error
        told = reason = str(error)
        if isinstance(error, TextError):
            reason = str(KoujiError(error.what, allowed=error.allowed, cure=error.cure))
        elif not isinstance(error, KoujiError):
            log.error("line %s of job %s", line.id, self._task.job_id, exc_info=error)
            reason = f"unexpected {type(error).__name__}"
            told = f"{reason}: {error}"
        spoken = replace(self._facts(number, line, voice, tts), error=told, reason=reason)
        try:
            self._folder.save(spoken)
        except OSError as problem:
            raise unwritable(problem, self._folder.path) from problem
        self._on_line(spoken, line)

    def _facts(
        self, number: int, line: JobLine, voice: Voice | None, tts: TTS | None
    ) -> SpokenLine:
        options = self._task.options
        return SpokenLine(
            number=number,
            id=line.id,
            text_sha256=hash_text(line.text),
            voice=line.voice or options.voice or self._task.default_voice,
            voice_hash=voice.content_hash if voice else "",
            style=self._style_of(line),
            seed=options.seed if line.seed is None else line.seed,
            language=line.language or options.language,
            model=str(tts.identity) if tts else options.model,
            start=line.start,
            end=line.end,
            part=self.part_of(number),
        )


def collect(stream: SpeechStream, sample_rate: int) -> Sound:
    """All of a stream as one sound."""
    chunks = list(stream)
    told = [w for c in chunks for w in (*c.warnings, *(c.segment.warnings if c.segment else ()))]
    samples = [chunk.samples for chunk in chunks]
    return Sound(
        np.concatenate(samples) if samples else np.zeros(0, np.float32),
        sample_rate,
        tuple(word for chunk in chunks for word in chunk.words),
        tuple(dict.fromkeys(told)),
    )
