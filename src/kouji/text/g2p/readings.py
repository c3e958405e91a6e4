"""How Chinese words are read before sandhi: phrase dictionary, overrides, polyphonic characters.

Reads the data files of the package pypinyin where they lie (importing the package would load
them too, but costs three times as long). Knows dictionaries and rules of one word and its
neighbours; it does not know tone sandhi.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kouji.errors import ModelError
from kouji.text.g2p.pinyin import spell_syllable, strip_tone_mark
from kouji.text.g2p.polyphones import (
    CHARACTERS,
    DOUBLE_SURNAMES,
    FOREIGN,
    NEUTRAL_WORDS,
    PHRASES,
    SURNAMES,
)

_MAX_PHRASE = 8
_COUNTS = frozenset("零一二三四五六七八九十百千万亿两几半每这那哪双")
_RARE_SURNAMES = frozenset("查盖乐车洗应哈")  # words rather than names
_MEASURES = {"只": "zhi1", "行": "hang2", "重": "chong2"}  # read so behind a number

Syllable = tuple[str, int]  # toneless pinyin as in the dictionaries, tone 1-5


@lru_cache(maxsize=1)
def phrase_readings() -> dict[str, list[list[str]]]:
    """The phrase dictionary: word -> one list of readings a character, with tone marks."""
    phrases: dict[str, list[list[str]]] = _load("phrases_dict.json")
    return phrases


@lru_cache(maxsize=1)
def _character_readings() -> dict[str, str]:
    readings: dict[str, str] = _load("pinyin_dict.json")
    return readings


def _load(name: str) -> Any:
    spec = find_spec("pypinyin")
    if spec is None or spec.origin is None:
        raise ModelError(
            "the Chinese readings are not installed",
            seen="no package pypinyin",
            cure="install it with 'pip install pypinyin'",
        )
    return json.loads((Path(spec.origin).parent / name).read_text("utf-8"))


@lru_cache(maxsize=16384)
def read_character(character: str) -> Syllable | None:
    """The reading of a character that is a word by itself, None when it has none."""
    if character in CHARACTERS:
        return _numbered(CHARACTERS[character])
    return _inside_word(character)


@lru_cache(maxsize=16384)
def _inside_word(character: str) -> Syllable | None:
    """The reading the phrase dictionary takes for granted where it leaves a word out."""
    marked = _character_readings().get(str(ord(character))) if len(character) == 1 else None
    for candidate in (marked or "").split(","):
        syllable = parse_marked(candidate) if candidate else None
        if syllable is not None and spell_syllable(syllable[0]) is not None:
            return syllable
    return None


@lru_cache(maxsize=16384)
def read_word(word: str) -> tuple[Syllable | None, ...]:
    """Readings of the characters of one word: overrides, phrases, then longest known parts."""
    known = _known_phrase(word)
    if known is None:
        known = _read_parts(word)
    last = _last_character(word)
    if last is not None:
        known = (*known[:-1], _numbered(last))
    if word in NEUTRAL_WORDS and known[-1] is not None:
        known = (*known[:-1], (known[-1][0], 5))
    return known


def _last_character(word: str) -> str | None:
    """Reading of the last character where the word before it decides, None for no change."""
    stem, last = word[:-1], word[-1]
    if not stem or word in PHRASES:
        return None
    if last in _MEASURES and all(sign in _COUNTS for sign in stem.removeprefix("第")):
        return _MEASURES[last]
    if last == "为" and word not in phrase_readings():
        return "wei2"  # 选为, 列为
    if last == "着" and stem[-1] in "不得":
        return "zhao2"
    if last == "了" and stem[-1] in "不得" and len(stem) > 1:
        return "liao3"
    is_manner = len(stem) > 2 or (len(stem) == 2 and stem[0] == stem[1])
    return "de5" if last == "地" and is_manner and word not in phrase_readings() else None


def read_name(word: str) -> tuple[Syllable | None, ...] | None:
    """The reading of a Chinese name whose surname has a sound of its own, None for other words."""
    if len(word) not in (2, 3) or word in FOREIGN or word in PHRASES:
        return None
    if len(word) == 3 and word[:2] in DOUBLE_SURNAMES:
        return (*read_word(word[:2]), *read_word(word[2]))
    surname = SURNAMES.get(word[0])
    if surname is None or word[0] in _RARE_SURNAMES:
        return None
    return (_numbered(surname), *read_word(word)[1:])


def _known_phrase(word: str) -> tuple[Syllable | None, ...] | None:
    """The reading of a listed phrase or a single character, None for other words."""
    if word in PHRASES:
        return tuple(_numbered(syllable) for syllable in PHRASES[word].split())
    if len(word) > 1 and word in phrase_readings():
        syllables = [parse_marked(readings[0]) for readings in phrase_readings()[word]]
        if len(syllables) == len(word):
            return tuple(map(_without_sandhi, word, syllables))
    return (read_character(word),) if len(word) == 1 else None


def _read_parts(word: str) -> tuple[Syllable | None, ...]:
    """A word no list has: its longest listed parts from the left, else single characters."""
    syllables: list[Syllable | None] = []
    start = 0
    while start < len(word):
        end = min(len(word), start + _MAX_PHRASE)
        while end - start > 1 and not _is_listed(word[start:end], word):
            end -= 1
        part = word[start:end]
        syllables += read_word(part) if len(part) > 1 else [_inside_word(part)]
        start = end
    return tuple(syllables)


def _is_listed(part: str, word: str) -> bool:
    is_known = part in PHRASES or part in NEUTRAL_WORDS or part in phrase_readings()
    return is_known and part != word


def parse_marked(marked: str) -> Syllable:
    """`hǎo` -> ("hao", 3); no mark is the neutral tone."""
    body, tone = strip_tone_mark(marked)
    return body, tone or 5


def _without_sandhi(character: str, syllable: Syllable) -> Syllable:
    """The phrase dictionary has 一 and 不 sometimes as spoken; sandhi wants them as they are."""
    if character == "一" and syllable[0] == "yi":
        return "yi", 1
    return ("bu", 4) if character == "不" and syllable[0] == "bu" else syllable


def _numbered(syllable: str) -> Syllable:
    return syllable[:-1], int(syllable[-1])
