"""Reading of words: hanzi runs, English words, acronyms, capitals, CamelCase."""

from __future__ import annotations

import re

from kouji.text.normalise.reading import Reader, View, reader

WORD_ACRONYMS = frozenset("NASA UNESCO NATO LASER".split())


def _hanzi(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return match.group()


def _word(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    word = match.group()
    if word.isupper() and 1 < len(word) <= 5 and word not in WORD_ACRONYMS:
        return word
    return word.lower() if len(word) > 1 else word


READERS: tuple[Reader, ...] = (
    reader("hanzi", "[{H}]+", _hanzi),
    reader("word", "[A-Za-z]+(?:'[A-Za-z]+)*", _word),
)
