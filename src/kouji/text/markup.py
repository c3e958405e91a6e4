"""Control marks in the caller's text: sounds, pauses, events and stress, never read aloud.

Turns a text into pieces, each with its span in that text; SSML becomes the same pieces.
Knows the marks, not the words between them. `\\[`, `\\]`, `\\<` and `\\\\` are the plain signs.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from typing import Literal

from kouji.errors import MarkError
from kouji.text.phonetic import ALLOWED, Mark, Phonetic, read_marks
from kouji.text.units import NEUTRAL, Event, Prosody
from kouji.types import Language

__all__ = ["EVENTS", "Break", "Event", "Phonetic", "Piece", "Plain", "parse", "parse_marks"]

# The sounds beside speech that the CosyVoice family was trained with.
EVENTS = (
    "breath", "quick_breath", "laughter", "cough", "sigh", "noise", "clucking", "accent",
    "hissing", "vocalized-noise", "lipsmack", "mn",
)  # fmt: skip
MAX_BREAK_SECONDS = 10.0
_SCOPES = ("strong", "laughter")
_TOKEN = re.compile(r"\\[\[\]<>\\]|\[|<\|[^<>|\n]*\|>|</?[A-Za-z][^<>\n]*>")
_BRACKET_TOKEN = re.compile(r"\\[\[\]<>\\]|\[")
_BREAK = re.compile(r"break\s+(\d{1,6}(?:\.\d{1,6})?)\s*(ms|s)", re.IGNORECASE)
_SCOPE_TAGS = "<strong>…</strong> and <laughter>…</laughter>"


@dataclass(frozen=True)
class Plain:
    """Words as written; `starts[i]` and `ends[i]` are the source span of character i."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    prosody: Prosody = NEUTRAL
    language: Language | None = None
    say_as: Literal["letters"] | None = None  # every sign by its name

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Source span of the characters `start` to `end`, which must not be empty."""
        return self.starts[start], self.ends[end - 1]


@dataclass(frozen=True)
class Break:
    """A pause of `seconds`, or the end of a sentence where that is None."""

    seconds: float | None
    start: int
    end: int


Piece = Plain | Phonetic | Break | Event


def parse(text: str) -> list[Piece]:
    """Pieces of a text with marks, or of an SSML document where it begins with `<speak`.

    raises: MarkError with the place of the first wrong mark and what is allowed
    """
    from kouji.text import ssml

    if ssml.is_ssml(text):
        return ssml.parse_ssml(text)
    return parse_marks(Plain(text, tuple(range(len(text))), tuple(range(1, len(text) + 1))))


def parse_marks(plain: Plain, *, with_tags: bool = True) -> list[Piece]:
    """Pieces of one stretch of text whose characters know their place in the source.

    with_tags: False leaves `<` and `>` as plain signs, as in the text of an SSML document
    """
    return _MarkParser(plain, _TOKEN if with_tags else _BRACKET_TOKEN).run()


class _MarkParser:
    """One walk over one stretch; `_open` is the stack of scopes not closed yet."""

    def __init__(self, plain: Plain, token: re.Pattern[str]) -> None:
        self._plain, self._text, self._token = plain, plain.text, token
        self._pieces: list[Piece] = []
        self._open: list[tuple[str, Prosody, int, int]] = []
        self._prosody = plain.prosody
        self._kept: list[int] = []  # characters of the plain piece being gathered
        self._escaped: set[int] = set()

    def run(self) -> list[Piece]:
        position = 0
        for match in self._token.finditer(self._text):
            if match.start() < position:
                continue
            self._keep(position, match.start())
            position = self._read_token(match)
        self._keep(position, len(self._text))
        self._flush()
        if self._open:
            name, _, start, end = self._open[-1]
            raise self._error(f"<{name}> is never closed", start, end, _SCOPE_TAGS)
        return self._pieces

    def _read_token(self, match: re.Match[str]) -> int:
        token = match.group()
        if token[0] == "\\":
            self._kept.append(match.start() + 1)
            self._escaped.add(match.start() + 1)
        elif token[0] == "[":
            return self._read_brackets(match.start())
        elif token.startswith("<|"):
            raise self._error("model tokens are not text", *match.span(), ALLOWED)
        else:
            self._read_scope(token, *match.span())
        return match.end()

    def _read_scope(self, token: str, start: int, end: int) -> None:
        name = token.strip("</>").strip()
        if name not in _SCOPES or token not in (f"<{name}>", f"</{name}>"):
            cure = r"write \< for a sign that belongs to the text"
            raise self._error("unknown tag", start, end, _SCOPE_TAGS, cure)
        self._flush()
        if token[1] != "/":
            self._open.append((name, self._prosody, start, end))
            self._prosody = replace(self._prosody, **{_FIELDS[name]: True})
        elif not self._open or self._open[-1][0] != name:
            raise self._error(f"</{name}> closes nothing", start, end, _SCOPE_TAGS)
        else:
            self._prosody = self._open.pop()[1]

    def _read_brackets(self, start: int) -> int:
        """Read all marks that follow one another from here; return where they end."""
        self._flush()
        phonetic: list[Mark] = []
        while self._text[start : start + 1] == "[":
            mark, start = self._cut_mark(start)
            piece = self._control(mark)
            if piece is None:
                phonetic.append(mark)
            else:
                self._pieces += [*read_marks(phonetic, self._prosody), piece]
                phonetic = []
        self._pieces += read_marks(phonetic, self._prosody)
        return start

    def _cut_mark(self, start: int) -> tuple[Mark, int]:
        close = self._text.find("]", start)
        again = self._text.find("[", start + 1)
        if close < 0 or start < again < close:
            cure = r"write \[ for a bracket that belongs to the text"
            raise self._error("mark is never closed", start, start + 1, ALLOWED, cure)
        content = " ".join(unicodedata.normalize("NFC", self._text[start + 1 : close]).split())
        return Mark(content, *self._plain.span(start, close + 1)), close + 1

    def _control(self, mark: Mark) -> Piece | None:
        """The piece of a mark that is no sound of speech, None for a phonetic mark."""
        name = mark.content.lower()
        if name in EVENTS:
            return Event(name, mark.start, mark.end)
        if name == "break" or name.startswith(("break ", "break=")):
            return Break(read_break(mark), mark.start, mark.end)
        return None

    def _keep(self, start: int, end: int) -> None:
        self._kept.extend(range(start, end))

    def _flush(self) -> None:
        kept, self._kept = self._kept, []
        if kept:
            starts = tuple(self._plain.starts[i - (i in self._escaped)] for i in kept)
            ends = tuple(self._plain.ends[i] for i in kept)
            text = "".join(self._text[i] for i in kept)
            self._pieces.append(
                replace(self._plain, text=text, starts=starts, ends=ends, prosody=self._prosody)
            )

    def _error(
        self, what: str, start: int, end: int, allowed: str, cure: str | None = None
    ) -> MarkError:
        first, last = self._plain.span(start, max(end, start + 1))
        seen = self._text[start : min(len(self._text), max(end, start + 20))]
        return MarkError(what, start=first, end=last, seen=seen, allowed=allowed, cure=cure)


_FIELDS = {"strong": "strong", "laughter": "laughing"}


def read_break(mark: Mark) -> float:
    """Seconds of a break mark; MarkError unless it is a time of at most ten seconds."""
    match = _BREAK.fullmatch(mark.content)
    seconds = float(match[1]) * (0.001 if match[2].lower() == "ms" else 1.0) if match else None
    if seconds is None or not 0 < seconds <= MAX_BREAK_SECONDS:
        raise MarkError(
            "break without a usable length",
            start=mark.start,
            end=mark.end,
            seen=f"[{mark.content}]",
            allowed=f"[break 0.5s] or [break 500ms], up to {MAX_BREAK_SECONDS:g} s",
        )
    return seconds
