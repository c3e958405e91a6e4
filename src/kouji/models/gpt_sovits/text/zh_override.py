"""Readings of words that put right what a reader of whole sentences gave.

A sentence reader errs where words meet (曲子弹得). The official front end has a dictionary of
45,000 words for it, which is not free to hand on: it is used where the user's checkpoint folder
holds it beside the g2pW model, else pypinyin's dictionary of phrases stands in.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from kouji.errors import ModelError

FILES = ("polyphonic.rep", "polyphonic-fix.rep")  # the second wins

Readings = Mapping[str, Sequence[str]]


def correct_word(word: str, readings: Sequence[str], known: Readings | None) -> list[str]:
    """The readings of a word after the dictionary.

    readings: pinyin with tone, one per character
    known:    the official dictionary; None takes pypinyin's phrases
    """
    if known is None:
        return list(_phrase(word) or readings)
    whole = known.get(word)
    if whole is not None and len(whole) == len(readings):
        return list(whole)
    corrected = list(readings)
    for index, sign in enumerate(word[: len(corrected)]):
        if sign in known:
            corrected[index] = known[sign][0]
    return corrected


def load_readings(folder: Path) -> dict[str, list[str]] | None:
    """The official dictionary of a folder, None where there is none.

    Lines are `word: ['pin1', 'yin1']`.
    raises: ModelError for a line that is no such thing
    """
    known: dict[str, list[str]] = {}
    for path in (folder / name for name in FILES):
        if not path.is_file():
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if line.strip():
                word, readings = _parse(line, path, number)
                known[word] = readings
    return known or None


def find_readings(model_folder: Path) -> dict[str, list[str]] | None:
    """The dictionary where official checkouts keep it: in or beside the folder of g2pW."""
    places = (model_folder, model_folder.parent / "g2pw", model_folder.parent)
    return next((known for place in places if (known := load_readings(place))), None)


def _parse(line: str, path: Path, number: int) -> tuple[str, list[str]]:
    word, _, listed = line.partition(":")
    try:
        readings = ast.literal_eval(listed.strip())
    except (ValueError, SyntaxError):
        readings = None
    if not isinstance(readings, list) or not all(isinstance(item, str) for item in readings):
        raise ModelError(
            f"line {number} of {path.name} is no dictionary entry",
            seen=line[:80],
            allowed="word: ['pin1', 'yin1']",
            cure="fetch the file again",
        )
    return word.strip(), readings


@lru_cache(maxsize=16384)
def _phrase(word: str) -> tuple[str, ...] | None:
    """How pypinyin's dictionary reads a phrase of several characters, None for other words."""
    from pypinyin.constants import PHRASES_DICT
    from pypinyin.contrib.tone_convert import to_tone3

    listed = PHRASES_DICT.get(word)
    if len(word) < 2 or listed is None or len(listed) != len(word):
        return None
    return tuple(to_tone3(each[0], neutral_tone_with_five=True) for each in listed)
