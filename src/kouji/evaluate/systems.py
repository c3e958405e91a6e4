"""What is measured: a Kouji model, real recordings, or a program read for comparison.

Each answers one question: given an item of a set, the sound of it. A row of the table
is one system, and all rows are measured by the same code.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kouji.errors import DataError
from kouji.evaluate.items import EvaluationItem
from kouji.types import Audio, Speech, Timing


class Synthesiser(Protocol):
    """The part of Kouji's api that evaluation uses; tests pass a fake."""

    def enroll(self, reference: Path) -> Any:
        """A voice from a recording."""
        ...

    def speak(self, text: str, voice: Any, *, style: Any = None, seed: int = 0) -> Speech:
        """Speech of the text in the voice."""
        ...


class StreamingSynthesiser(Synthesiser, Protocol):
    """A synthesiser that also gives its audio piece by piece, at `sample_rate` Hz."""

    sample_rate: int

    def stream(self, text: str, voice: Any, *, style: Any = None, seed: int = 0) -> Iterator[Any]:
        """Chunks of the speech, the first as early as possible."""
        ...


@dataclass(frozen=True)
class Rendering:
    """An item made sound; `seconds` it took, None for recordings; phones where known."""

    audio: Audio
    seconds: float | None = None
    phones: tuple[Timing, ...] = ()


class System(Protocol):
    """Something that can render items."""

    name: str

    def render(self, item: EvaluationItem) -> Rendering | None:
        """The sound of an item; None if this system cannot speak it."""
        ...


class Recordings:
    """The real recordings of the texts: what a perfect system would reach."""

    name = "recordings"

    def render(self, item: EvaluationItem) -> Rendering | None:
        """The recording of the item's text, if the set has one."""
        from kouji.audio.load import load_audio

        return None if item.recording is None else Rendering(load_audio(item.recording))


class Model:
    """A Kouji model; each reference is enrolled once, outside the timing."""

    def __init__(self, synthesiser: Synthesiser, name: str, *, seed: int = 0) -> None:
        self.name = name
        self.synthesiser, self._seed = synthesiser, seed
        self._voices: dict[str, Any] = {}

    def voice(self, reference: str) -> Any:
        """The voice of a reference recording."""
        if reference not in self._voices:
            self._voices[reference] = self.synthesiser.enroll(Path(reference))
        return self._voices[reference]

    def render(self, item: EvaluationItem) -> Rendering | None:
        """Speak the item's text in the voice of its reference."""
        voice = self.voice(item.reference)
        start = time.perf_counter()
        speech = self.synthesiser.speak(item.text, voice, seed=self._seed)
        return Rendering(speech.audio, time.perf_counter() - start, speech.phones)


class Program:
    """A speech program installed on this machine, run once per item, with its own voice."""

    def __init__(self, name: str, commands: dict[str, list[str]]) -> None:
        """name: of the row; commands: by language, with {text} and {out} to be filled in."""
        self.name, self._commands = name, commands

    def render(self, item: EvaluationItem) -> Rendering | None:
        """Let the program read the text; None for a language it has no voice for."""
        from kouji.audio.load import load_audio

        command = self._commands.get(item.language)
        if command is None:
            return None
        with tempfile.TemporaryDirectory() as folder:
            out = str(Path(folder, "speech.wav"))
            filled = [part.format(text=item.text, out=out) for part in command]
            start = time.perf_counter()
            try:
                subprocess.run(filled, check=True, capture_output=True, timeout=60)
            except (OSError, subprocess.SubprocessError) as error:
                raise DataError(f"{self.name} failed", seen=error) from error
            seconds = time.perf_counter() - start
            return Rendering(load_audio(out), seconds)


PROGRAMS = {
    "flite": Program("flite", {"en": ["flite", "-voice", "slt", "-t", "{text}", "-o", "{out}"]}),
    "espeak-ng": Program(
        "espeak-ng",
        {
            "en": ["espeak-ng", "-v", "en-us", "-w", "{out}", "{text}"],
            "zh": ["espeak-ng", "-v", "cmn", "-w", "{out}", "{text}"],
        },
    ),
}


def installed_programs() -> list[Program]:
    """The programs for comparison that this machine has."""
    return [program for name, program in PROGRAMS.items() if shutil.which(name)]
