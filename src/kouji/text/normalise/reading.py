"""What a reader is: a pattern over the folded text and a function that says it aloud.

A reading is one line in a small notation: hanzi runs, lower-case English words, UPPER-CASE
groups of letters to spell out, and the pauses , . ? ! parted by spaces where needed.
A reader returns None where it does not apply, and the next one is asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kouji.text.language import CLAUSE_BREAK, HANZI, Surroundings

if TYPE_CHECKING:
    from kouji.types import Language

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?"
NOT_IN_WORD = r"(?<![A-Za-z0-9.])"


@dataclass(frozen=True)
class View:
    """The folded text and what surrounds a match in it."""

    text: str
    surroundings: Surroundings

    def language(self, match: re.Match[str]) -> Language:
        """The language the matched text is to be spoken in."""
        return self.surroundings.language_at(match.start(), match.end())

    def before(self, match: re.Match[str], num_chars: int = 24) -> str:
        """The text just before the match."""
        return self.text[max(0, match.start() - num_chars) : match.start()]

    def after(self, match: re.Match[str], num_chars: int = 24) -> str:
        """The text just after the match."""
        return self.text[match.end() : match.end() + num_chars]

    def clause(self, match: re.Match[str], num_chars: int = 60) -> str:
        """The clause around the match, cut at punctuation."""
        left = re.split(f"[{CLAUSE_BREAK}]", self.before(match, num_chars))[-1]
        right = re.split(f"[{CLAUSE_BREAK}]", self.after(match, num_chars))[0]
        return left + match.group() + right


Read = Callable[[re.Match[str], View], str | None]


@dataclass(frozen=True)
class Reader:
    """`read` says aloud what `pattern` matches; `name` tells tests and debuggers which it was."""

    name: str
    pattern: re.Pattern[str]
    read: Read


def reader(name: str, pattern: str, read: Read) -> Reader:
    """Compile a reader; patterns may use the named pieces {N} (a number) and {H} (hanzi)."""
    return Reader(name, re.compile(pattern.replace("{N}", NUMBER).replace("{H}", HANZI)), read)


SPOKEN_TOKEN = re.compile(rf"[{HANZI}]+|[A-Z]+(?![a-z'])|[A-Za-z][a-z]*(?:'[A-Za-z]+)*|[,.?!]")


def spell(letters: str) -> str:
    """Letters to be spelt out, as a reading: "ca" -> "CA"."""
    return letters.upper()
