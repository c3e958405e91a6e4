"""What became of one line: the facts that manifest, subtitles and the joined file are made of.

Plain values, so that they can lie on the disk; nothing in them depends on when or how often the
job was run.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kouji.jobs.job import JobLine
from kouji.types import Timing

_QUOTED = re.compile(r"'[^']{1,200}'|\"[^\"]{1,200}\"|“[^“”]{1,200}”|「[^「」]{1,200}」")


@dataclass(frozen=True)
class SpokenLine:
    """One line, spoken or failed.

    number:      in the job, of 0
    file:        in the result's folder; empty for a failed line
    num_bytes:   of the file
    words:       (text, start, end) in seconds of the line's own sound
    speech_rate: of a timed line, beside what its style asks
    part:        of the joined work, for the audible notice: whole, first, middle or last
    error:       why it has no sound
    reason:      the same without what was seen, which may be the text itself
    """

    number: int
    id: str
    text_sha256: str
    voice: str
    voice_hash: str = ""
    style: str | None = None
    seed: int = 0
    language: str | None = None
    model: str = ""
    file: str = ""
    num_bytes: int = 0
    num_samples: int = 0
    sample_rate: int = 0
    words: tuple[tuple[str, float, float], ...] = ()
    warnings: tuple[str, ...] = ()
    start: float | None = None
    end: float | None = None
    speech_rate: float = 1.0
    part: str = "middle"
    error: str | None = None
    reason: str | None = None

    @property
    def is_spoken(self) -> bool:
        """It has sound."""
        return self.error is None

    @property
    def seconds(self) -> float:
        """Of its sound."""
        return self.num_samples / self.sample_rate if self.sample_rate else 0.0

    def timings(self, offset: float) -> list[Timing]:
        """Its words, `offset` seconds later."""
        return [Timing(text, start + offset, end + offset) for text, start, end in self.words]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SpokenLine:
        """Read `asdict` back from JSON; ValueError, KeyError or TypeError for anything else."""
        words = tuple((str(text), float(a), float(b)) for text, a, b in values["words"])
        return cls(**{**values, "words": words, "warnings": tuple(values["warnings"])})


def without_text(message: str, text: str) -> str:
    """A message in which what it quotes of the text is left out."""

    def hidden(found: re.Match[str]) -> str:
        quoted = found.group()
        return f"{quoted[0]}…{quoted[-1]}" if quoted[1:-1] in text else quoted

    return _QUOTED.sub(hidden, message)


def hash_text(text: str) -> str:
    """sha256 of a text, as the manifest names it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_name(number: int, line: JobLine, suffix: str) -> str:
    """`lines/000001-id.wav`: in order, and safe whatever the id holds."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", line.id).strip("-")[:40].strip("-")
    order = f"{number + 1:06}"
    return f"lines/{order}-{slug}.{suffix}" if slug else f"lines/{order}.{suffix}"
