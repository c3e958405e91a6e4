"""Words in running Chinese: the likeliest cut by word frequencies.

Frequencies come from the dictionary file of the package jieba, where it lies. Loading it takes
jieba a second; the file is sorted, so words are found in it by bisection in microseconds and
nothing is loaded at all. Phrases whose reading is listed count as words too.
"""

from __future__ import annotations

import math
import mmap
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from kouji.errors import ModelError
from kouji.text.g2p.polyphones import COMBINATIONS
from kouji.text.g2p.readings import phrase_readings

_TOTAL = 60_000_000  # sum of all frequencies of the dictionary, rounded
_PHRASE_COUNT = 50.0  # a phrase without frequency beats its single characters, not other words
_COMBINATION_COUNT = 300.0
_UNKNOWN_COUNT = 0.5
_MAX_WORD = 8


class Entry(NamedTuple):
    """Frequency and part of speech (ICTCLAS tags: n, v, a, d, m, r, ...) of a word."""

    frequency: float
    tag: str


class Token(NamedTuple):
    """A word of running text: its characters from `start` to `end` of the stretch."""

    text: str
    start: int
    end: int
    tag: str


def cut(text: str) -> list[Token]:
    """Words of a stretch of hanzi, covering it without gaps (maximum product of frequencies)."""
    num_chars = len(text)
    best: list[tuple[float, int]] = [(0.0, num_chars)] * (num_chars + 1)
    for start in range(num_chars - 1, -1, -1):
        best[start] = max(
            (math.log(count / _TOTAL) + best[end][0], end) for end, count in _words_at(text, start)
        )
    tokens: list[Token] = []
    start = 0
    while start < num_chars:
        end = best[start][1]
        word = text[start:end]
        entry = look_up(word)
        tokens.append(Token(word, start, end, entry.tag if entry else ""))
        start = end
    return tokens


def _words_at(text: str, start: int) -> list[tuple[int, float]]:
    """Ends and counts of the words that begin at `start`; the single character always is one."""
    single = look_up(text[start])
    found = [(start + 1, single.frequency if single else _UNKNOWN_COUNT)]
    for end in range(start + 2, min(len(text), start + _MAX_WORD) + 1):
        word = text[start:end]
        entry = look_up(word)
        if word in COMBINATIONS:
            found.append((end, max(_COMBINATION_COUNT, entry.frequency if entry else 0.0)))
        elif entry is not None and entry.frequency > 0:
            found.append((end, entry.frequency))
        elif word in phrase_readings():
            found.append((end, _PHRASE_COUNT))
    return found


@lru_cache(maxsize=65536)
def look_up(word: str) -> Entry | None:
    """Frequency and tag of a word, None when the dictionary lacks it."""
    return _word_file().find(word)


class WordFile:
    """A sorted text file of lines `word count tag`, searched where it lies."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def find(self, word: str) -> Entry | None:
        """The line of `word`, by bisection over byte offsets (UTF-8 sorts like code points)."""
        wanted = word.encode("utf-8", "surrogatepass")
        low, high = 0, len(self._bytes)
        while low < high:
            start = self._bytes.rfind(b"\n", 0, (low + high) // 2) + 1
            end = self._bytes.find(b"\n", start)
            end = len(self._bytes) if end < 0 else end
            key, _, rest = self._bytes[start:end].partition(b" ")
            if key == wanted:
                count, _, tag = rest.decode().partition(" ")
                return Entry(float(count), tag.strip())
            if key < wanted:
                low = end + 1
            else:
                high = start
        return None


@lru_cache(maxsize=1)
def _word_file() -> WordFile:
    spec = find_spec("jieba")
    if spec is None or spec.origin is None:
        raise ModelError(
            "the Chinese word list is not installed",
            seen="no package jieba",
            cure="install it with 'pip install jieba'",
        )
    return WordFile(Path(spec.origin).parent / "dict.txt")
