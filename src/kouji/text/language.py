"""Which language a stretch of text is spoken in, Chinese or English, from the letters around it.

Hanzi are Chinese and Latin words English by themselves; this module answers for what has no
language of its own: digits, symbols, emoji. It knows words and clauses, not their meaning.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kouji.types import Language


HANZI = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"
LATIN = "A-Za-z"
CLAUSE_BREAK = "。！？；!?;\n，,、…：:"
# A unit or half of the day after a number says nothing of the language around it.
_UNITS = (
    "[kcmμn]?m|[kmμ]?g|[kmμ]?l|k?[wW]h?|[kKMGT]B|[kMG]?Hz|[ap]m|[AP]M|mph|mmHg|mmol|[kMh]?Pa"
    "|fps|bpm|rpm|dB|[kM]W|mAh|k?cal|psi|[kMG]bps|px|ppm|dpi"
)
_WORDS = re.compile(
    rf"(?P<zh>[{HANZI}]+)"
    # nor does a Latin word stuck to a digit (5kg, iPhone15, CA1234)
    rf"|(?P<code>(?<=\d)[{LATIN}]+|[{LATIN}]+(?=\d)|(?<=\d )(?:{_UNITS})(?![{LATIN}]))"
    # nor a letter alone (x, but a and I are words)
    rf"|(?P<letter>(?<![{LATIN}'])[B-HJ-Zb-z](?![{LATIN}']))"
    rf"|(?P<en>[{LATIN}]+(?:'[{LATIN}]+)*)"
    rf"|(?P<stop>[。！？；!?;\n，、…：]+|[.,:](?=\s|$))"
)
_CHINESE_MARKS = "，。、：；？！¥"


@dataclass(frozen=True)
class _Run:
    """Neighbouring words of one language within a clause; `has_plain` = a lower-case word."""

    language: Language
    start: int
    end: int
    num_words: int
    has_plain: bool


class Surroundings:
    """Answers `language_at` for any span of one text; built in one pass over it."""

    def __init__(self, text: str, default: Language | None = None) -> None:
        self._text = text
        self._clauses: list[tuple[int, list[_Run]]] = []  # (end of clause, its runs)
        self._scan()
        has_hanzi = any(run.language == "zh" for _, runs in self._clauses for run in runs)
        has_hanzi = has_hanzi or any(mark in text for mark in _CHINESE_MARKS)
        self.default: Language = default or ("zh" if has_hanzi else "en")
        self._mixed = has_hanzi
        self._has_default = default is not None
        self._ends = [end for end, _ in self._clauses]

    def language_at(self, start: int, end: int) -> Language:
        """The language of what stands at `start` to `end` and is neither hanzi nor a Latin word."""
        touches_left = start > 0 and is_hanzi(self._text[start - 1])
        if touches_left or (end < len(self._text) and is_hanzi(self._text[end])):
            return "zh"
        index = bisect_left(self._ends, start + 1)
        clause = self._clauses[index][1] if index < len(self._clauses) else []
        runs = [run for run in clause if run.start < start or run.end > end]
        if all(self._is_acronym(run) for run in runs):
            runs = []
        if not runs:
            return self._nearest_clause(index)
        return self._within(runs, start, end)

    def _is_acronym(self, run: _Run) -> bool:
        """GDP or TDP alone in a clause has the language of the clauses around it."""
        return run.num_words == 1 and self._text[run.start : run.end].isupper() and self._mixed

    def _within(self, runs: list[_Run], start: int, end: int) -> Language:
        if len({run.language for run in runs}) == 1:
            return runs[0].language
        for run in runs:  # inside an English phrase quoted in Chinese
            if run.language == "en" and run.start < start and end < run.end:
                return "en" if run.has_plain else "zh"
        near = min(runs, key=lambda run: max(run.start - end, start - run.end))
        if near.language == "en" and near.has_plain:
            return "en"
        return _majority(runs)

    def _nearest_clause(self, index: int) -> Language:
        """Clauses without words follow the one before, else the one after, else the default."""
        if self._has_default:
            return self.default
        spoken = [[run for run in runs if not self._is_acronym(run)] for _, runs in self._clauses]
        before = [runs for runs in spoken[:index] if runs][-1:]
        after = [runs for runs in spoken[index:] if runs][:1]
        for runs in before:
            return _majority(runs)
        for runs in after:
            return _majority(runs)
        return self.default

    def _scan(self) -> None:
        runs: list[_Run] = []
        for match in _WORDS.finditer(self._text):
            if match.lastgroup == "stop":
                self._clauses.append((match.end(), runs))
                runs = []
            elif match.lastgroup in ("zh", "en"):
                _add_word(runs, match)
        self._clauses.append((len(self._text), runs))


def _majority(runs: list[_Run]) -> Language:
    """The language with more words in a clause, each hanzi counted as one."""
    latin = sum(run.num_words for run in runs if run.language == "en")
    hanzi = sum(run.num_words for run in runs if run.language == "zh")
    return "en" if latin > hanzi else "zh"


def _add_word(runs: list[_Run], match: re.Match[str]) -> None:
    language: Language = "zh" if match.lastgroup == "zh" else "en"
    count = len(match.group()) if language == "zh" else 1
    plain = language == "en" and match.group().islower()
    if runs and runs[-1].language == language:
        last = runs.pop()
        count, plain = count + last.num_words, plain or last.has_plain
        runs.append(_Run(language, last.start, match.end(), count, plain))
    else:
        runs.append(_Run(language, match.start(), match.end(), count, plain))


def is_hanzi(char: str) -> bool:
    """True for a Chinese character, traditional or simplified, of any plane."""
    if "\u3400" <= char <= "\u9fff":
        return not "\u4dc0" <= char <= "\u4dff"  # the hexagrams of the I Ching
    return "\U00020000" <= char <= "\U0003ffff"
