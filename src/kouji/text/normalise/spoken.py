"""What normalisation returns: spoken items, what was left out, and where each came from.

Knows nothing of how a text is read; every offset is a half-open span of the caller's text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from kouji.types import Language


Kind = Literal["word", "letters", "pause"]
SILENT = "silent"  # the reason given for quotes, joiners and other marks nobody reads aloud


@dataclass(frozen=True)
class Spoken:
    """One thing to say: hanzi, an English word, a string of letters, or a pause mark.

    text:     a run of hanzi ("zh"), one English word, upper-case letters to spell out
              (kind "letters"), or one of , . ? ! (kind "pause")
    start, end: the source characters it stands for; several items may share a span, and where
              len(text) == end - start of a hanzi run each character has its own offset
    """

    text: str
    start: int
    end: int
    language: Language
    kind: Kind = "word"


@dataclass(frozen=True)
class Dropped:
    """Source characters that are not read, and why; `SILENT` marks are no loss to a listener."""

    text: str
    start: int
    end: int
    reason: str


@dataclass(frozen=True)
class Normalised:
    """The spoken form of a text; every character is in an item, in `dropped`, or whitespace."""

    items: tuple[Spoken, ...]
    dropped: tuple[Dropped, ...]

    @property
    def spoken_form(self) -> str:
        """The items as one line: hanzi run together, everything else parted by one space."""
        parts: list[str] = []
        previous: Spoken | None = None
        for item in self.items:
            hanzi = item.language == "zh" and item.kind == "word"
            joined = hanzi and previous is not None and previous.language == "zh"
            if not (joined and previous is not None and previous.kind == "word"):
                parts.append(" ")
            parts.append(" ".join(item.text) if item.kind == "letters" else item.text)
            previous = item
        return "".join(parts).strip()
