"""The words of a job: what is asked of it, its lines, how it stands, where its result lies.

Plain data, so that the command line, the server and a page can show a job without knowing how
it is run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kouji.audio.loudness import REFERENCE_LUFS

if TYPE_CHECKING:
    from kouji.api import TTS
    from kouji.voices import Voice


class JobState(StrEnum):
    """How a job stands; the values are for people and for JSON."""

    WAITING = "waiting"  # for its turn in the process that has it, or for a server to start
    RUNNING = "running"
    PAUSED = "paused"  # by somebody, or by a full disk: `JobInfo.error` says why
    INTERRUPTED = "interrupted"  # whoever ran it is gone; resume goes on where it was
    FINISHED = "finished"
    FINISHED_WITH_ERRORS = "finished with errors"  # some lines; the manifest says which and why
    CANCELLED = "cancelled"
    FAILED = "failed"  # by a fault of ours; resume tries again

    @property
    def is_over(self) -> bool:
        """Nothing more happens to it by itself."""
        return self not in (JobState.WAITING, JobState.RUNNING)


@dataclass(frozen=True)
class JobOptions:
    """What one caller wants of a job; a line may name another voice, style, seed or language.

    voice:     "" takes the operator's `default_voice`
    format:    of the audio files: wav, flac, mp3, opus, aac or pcm
    kind:      how the file is read: text, markdown, epub, srt, vtt, csv or jsonl; None goes by
               its name
    subtitles: which of srt, vtt and json are written
    with_text: the manifest holds the text of each line; without it only the text's hash
    lufs:      loudness of every line in the joined file
    out:       the folder of the result; None is a folder in the home. Not for callers from afar
    """

    voice: str = ""
    model: str = "mini"
    style: str | None = None
    seed: int = 0
    language: str | None = None
    format: str = "wav"
    kind: str | None = None
    subtitles: tuple[str, ...] = ("srt", "vtt", "json")
    with_text: bool = False
    lufs: float = REFERENCE_LUFS
    out: Path | None = None


@dataclass(frozen=True)
class JobLine:
    """One line to speak.

    id:    names it in the manifest and in its file; unique in the job
    where: of the source, for messages: "line 3", "cue 7", "chapter 2"
    voice, style, seed, language: None takes the job's
    start, end: the slot of a timed line, in seconds of the joined file
    """

    id: str
    text: str
    where: str = ""
    voice: str | None = None
    style: str | None = None
    seed: int | None = None
    language: str | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class JobInfo:
    """How a job stands at one moment.

    name:    of the file it was read from
    owner:   id of the key it belongs to; empty: the operator, and whoever needs no key
    num_done, num_failed: lines; what is left is `num_lines` less both
    eta_seconds: until the last line is spoken; None while nobody knows
    created, updated: ISO 8601, UTC
    error:   why it is paused or failed, in one sentence; None where there is nothing to say
    folder:  of the result
    version: grows with every change; for watchers
    """

    id: str
    name: str
    state: JobState
    owner: str
    num_lines: int
    num_done: int
    num_failed: int
    eta_seconds: float | None
    created: str
    updated: str
    error: str | None
    folder: Path
    options: JobOptions
    is_timed: bool = False
    version: int = 0

    @property
    def num_left(self) -> int:
        """Lines nothing has become of yet."""
        return self.num_lines - self.num_done - self.num_failed

    def to_json(self) -> dict[str, Any]:
        """What may be shown to the job's owner: no path of this machine, no text."""
        eta = self.eta_seconds
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state.value,
            "owner": self.owner,
            "lines": self.num_lines,
            "done": self.num_done,
            "failed": self.num_failed,
            "eta_seconds": None if eta is None else round(eta, 1),
            "created": self.created,
            "updated": self.updated,
            "error": self.error,
            "voice": self.options.voice,
            "model": self.options.model,
            "format": self.options.format,
            "timed": self.is_timed,
        }


@dataclass(frozen=True)
class JobResult:
    """Where a job's result lies; what is not there (yet) is None or missing in `subtitles`.

    folder:    holds all of it, and nothing else
    joined:    one file with every line
    manifest:  one JSON object a line
    lines:     the folder of the lines' files
    subtitles: by format
    """

    folder: Path
    lines: Path
    joined: Path | None = None
    manifest: Path | None = None
    subtitles: dict[str, Path] = field(default_factory=dict)


class Speakers(Protocol):
    """Who speaks a job's lines: whoever holds a `JobCentre` brings models and voices."""

    def check(self, voice: str, model: str, owner: str) -> None:
        """Refuse a voice or model that there is not, or not for this owner; loads nothing.

        raises: KoujiError
        """

    def open(self, voice: str, model: str, owner: str) -> tuple[TTS, Voice]:
        """The model and the voice as it is now; asked for every line, so keep what is costly.

        raises: KoujiError, ConsentError where the voice may no longer be used
        """
