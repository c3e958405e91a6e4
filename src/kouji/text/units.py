"""What the text front end hands to a model: words, pauses and events in segments.

Plain records; spans are half-open character offsets into the caller's own text.
"""

from __future__ import annotations

from dataclasses import dataclass

from kouji.text.phones import Phone
from kouji.types import Language


@dataclass(frozen=True)
class Prosody:
    """How a stretch is to be spoken, relative to the voice's own way; nested marks multiply."""

    rate: float = 1.0  # 2.0 is twice as fast
    pitch_semitones: float = 0.0
    energy_db: float = 0.0
    strong: bool = False
    laughing: bool = False


NEUTRAL = Prosody()


@dataclass(frozen=True)
class Word:
    """One word: `text` as the caller wrote it, `spoken` as it is read, `phones` as it sounds."""

    text: str
    spoken: str
    start: int
    end: int
    language: Language
    phones: tuple[Phone, ...]
    prosody: Prosody = NEUTRAL


@dataclass(frozen=True)
class Pause:
    """A pause: `mark` is one of phones.PAUSES, `seconds` its length where the caller gave one."""

    mark: str
    seconds: float | None
    start: int
    end: int


@dataclass(frozen=True)
class Event:
    """A sound that is not speech, such as `breath`; families without it drop it."""

    name: str
    start: int
    end: int


Unit = Word | Pause | Event


@dataclass(frozen=True)
class Segment:
    """A stretch of text rendered in one go; `text` is the caller's text from start to end."""

    text: str
    units: tuple[Unit, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Analysis:
    """A whole text, ready to be spoken, and one line of warning per kind of loss."""

    segments: tuple[Segment, ...]
    warnings: tuple[str, ...] = ()
