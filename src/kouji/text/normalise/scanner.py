"""The walk over the folded text: ask the readers, cut readings into items, merge pauses.

Every folded character ends in an item or in a `Dropped`; offsets go back to the source here
and nowhere else.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from kouji.text.language import Surroundings, is_hanzi
from kouji.text.normalise import (
    codes,
    dates,
    maths,
    money,
    quantities,
    roman,
    symbols,
    web,
    words,
)
from kouji.text.normalise.fold import EMOJI_CHAR, Folded
from kouji.text.normalise.reading import SPOKEN_TOKEN, Reader, View
from kouji.text.normalise.spoken import SILENT, Dropped, Kind, Spoken

if TYPE_CHECKING:
    from kouji.types import Language

PAUSES = {
    **dict.fromkeys(",、，:：(（)）[]【】〔〕{}「」『』《》〈〉—–;；|", ","),
    **dict.fromkeys(".。…", "."),
    "?": "?", "？": "?", "!": "!", "！": "!", "‼": "!", "⁉": "?", "¿": ",", "¡": ",",
}  # fmt: skip
_STRENGTH = ",.?!"
_OPENING = frozenset("([{（【〔「『《〈¿¡")
_SILENT = frozenset("`\"'«»‹›-_~·•/\\*^‧・▪●○■□◆◇▶►★☆™®†‡¶")
_BY_CLASS: dict[str, tuple[Reader, ...]] = {
    "digit": (
        *maths.DIGIT_READERS, *web.DIGIT_READERS, *codes.NUMBER_READERS, *dates.DIGIT_READERS,
        *money.DIGIT_READERS, *quantities.DIGIT_READERS, *codes.DIGIT_READERS,
        quantities.NUMBER_READER,
    ),
    "letter": (
        *words.NAME_READERS, *web.LETTER_READERS, *dates.LETTER_READERS, *money.LETTER_READERS,
        *maths.LETTER_READERS,
        *roman.LETTER_READERS, *quantities.LETTER_READERS,
        *codes.LETTER_READERS, *words.LETTER_READERS,
    ),
    "hanzi": words.HANZI_READERS,
    "symbol": (
        *maths.SYMBOL_READERS, *money.SYMBOL_READERS, *codes.SYMBOL_READERS, *web.SYMBOL_READERS,
        *dates.SYMBOL_READERS, *quantities.SYMBOL_READERS, *roman.SYMBOL_READERS,
        *symbols.READERS,
    ),
}  # fmt: skip


_NEWLINES = re.compile(r"\n[ \n]*")


class Scanner:
    """One walk over one text; `run` fills `items` and `dropped`."""

    def __init__(self, folded: Folded, source: str, default: Language | None) -> None:
        self._folded, self._source = folded, source
        self._view = View(folded.text, Surroundings(folded.text, default))
        self.items: list[Spoken] = []
        self.dropped: list[Dropped] = list(folded.dropped)

    def run(self) -> None:
        """Read the whole text."""
        position = 0
        text = self._folded.text
        while position < len(text):
            char = text[position]
            if char == " ":
                position += 1
                continue
            end = self._ask_readers(position, char)
            if end is None:
                end = self._read_mark(position, char)
            position = end

    def _ask_readers(self, position: int, char: str) -> int | None:
        for candidate in _BY_CLASS[_classify(char)]:
            match = candidate.pattern.match(self._folded.text, position)
            if match is None or match.end() == position:
                continue
            reading = candidate.read(match, self._view)
            if reading is not None:
                self._emit(reading, position, match.end())
                return match.end()
        return None

    def _read_mark(self, position: int, char: str) -> int:
        """A pause, or a run of characters dropped for one reason."""
        if char == "\n":
            return self._read_newline(position)
        end = position + 1
        mark = PAUSES.get(char)
        if char in _OPENING and not self.items:
            self._drop(position, end, SILENT)
        elif mark is not None:
            self._pause(mark, position, end)
        else:
            reason = _reason(char)
            is_script = reason.startswith("unsupported")
            while is_script and end < len(self._folded.text) and (
                _classify(self._folded.text[end]) == "symbol"
                and _reason(self._folded.text[end]) == reason
            ):  # fmt: skip
                end += 1
            self._drop(position, end, reason)
        return end

    def _read_newline(self, position: int) -> int:
        """A blank line ends a sentence, a broken line is a breath unless the sentence runs on."""
        match = _NEWLINES.match(self._folded.text, position)
        end = match.end() if match else position + 1
        is_blank = self._folded.text.count("\n", position, end) > 1
        if self.items and (is_blank or not self._folded.text[end : end + 1].islower()):
            self._pause("." if is_blank else ",", position, end)
        return end

    def _span(self, start: int, end: int) -> tuple[int, int]:
        return self._folded.starts[start], self._folded.ends[end - 1]

    def _drop(self, start: int, end: int, reason: str) -> None:
        first, last = self._span(start, end)
        self.dropped.append(Dropped(self._source[first:last], first, last, reason))

    def _pause(self, mark: str, start: int, end: int) -> None:
        """Add a pause, or make the one just before it stronger and longer."""
        first, last = self._span(start, end)
        if self.items and self.items[-1].kind == "pause":
            previous = self.items.pop()
            mark = max(previous.text, mark, key=_STRENGTH.index)
            first = previous.start
        language = self.items[-1].language if self.items else self._view.surroundings.default
        self.items.append(Spoken(mark, first, last, language, "pause"))

    def _emit(self, reading: str, start: int, end: int) -> None:
        tokens = SPOKEN_TOKEN.findall(reading)
        if not tokens:
            self._drop(start, end, SILENT)
        elif (
            len(tokens) == 1
            and is_hanzi(tokens[0][0])
            and tokens[0] == self._folded.text[start:end]
        ):
            self._emit_hanzi(start, end)
        else:
            for token in tokens:
                self._emit_token(token, reading, start, end)

    def _emit_token(self, token: str, reading: str, start: int, end: int) -> None:
        if token in _STRENGTH:
            self._pause(token, start, end)
            return
        language: Language = "zh" if is_hanzi(token[0]) else "en"
        is_spelt = token.isupper() and reading not in ("I", "A")
        kind: Kind = "letters" if is_spelt else "word"
        self.items.append(Spoken(token, *self._span(start, end), language, kind))

    def _emit_hanzi(self, start: int, end: int) -> None:
        """Runs whose characters have one source character each; others get an item of their own."""
        begin = start
        for index in range(start, end):
            is_plain = self._folded.ends[index] - self._folded.starts[index] == 1
            if (
                is_plain
                and index > begin
                and self._folded.starts[index] != self._folded.ends[index - 1]
            ):
                self._add_hanzi(begin, index)
                begin = index
            if not is_plain:
                if index > begin:
                    self._add_hanzi(begin, index)
                self._add_hanzi(index, index + 1)
                begin = index + 1
        if begin < end:
            self._add_hanzi(begin, end)

    def _add_hanzi(self, start: int, end: int) -> None:
        self.items.append(Spoken(self._folded.text[start:end], *self._span(start, end), "zh"))


def _classify(char: str) -> str:
    if char.isascii() and char.isdecimal():
        return "digit"
    if char.isascii() and char.isalpha():
        return "letter"
    return "hanzi" if is_hanzi(char) else "symbol"


def _reason(char: str) -> str:
    if char in _SILENT or unicodedata.category(char) in ("Pi", "Pf", "Pd", "Ps", "Pe"):
        return SILENT
    if char.isalpha() or unicodedata.category(char).startswith("M"):
        script = unicodedata.name(char, "unknown").split()[0].capitalize()
        return f"unsupported script: {script}"
    if EMOJI_CHAR.match(char):
        return "emoji"
    category = unicodedata.category(char)
    return {"Cs": "lone surrogate", "Cn": "unassigned", "Co": "private use"}.get(
        category, "unknown symbol"
    )
