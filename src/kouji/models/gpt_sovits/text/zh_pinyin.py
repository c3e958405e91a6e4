"""Pinyin of Chinese words and sentences, before tone sandhi, and how it is spelled in symbols.

Three readers of a sentence exist: none (each word is read by pypinyin), pypinyin over the whole
sentence, and g2pW. What a reader gives for a sentence is put right by a dictionary of words.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kouji.errors import ModelError
from kouji.models.gpt_sovits.symbols import PUNCTUATION, pinyin_to_symbols

ReadSentence = Callable[[str], list[str]]
"""One reading per character of a sentence: pinyin with tone 1-5 at its end, marks as they are."""

_AFTER_INITIAL = {"uei": "ui", "iou": "iu", "uen": "un"}
_WITHOUT_INITIAL = {"ing": "ying", "i": "yi", "in": "yin", "u": "wu"}
_FIRST_LETTER = {"v": "yu", "e": "e", "i": "y", "u": "w"}


@lru_cache(maxsize=16384)
def initials_of(word: str) -> tuple[str, ...]:
    """The initial of each character of a word, empty for a vowel; a mark is itself."""
    pinyin = _library()
    return tuple(pinyin.lazy_pinyin(word, neutral_tone_with_five=True, style=pinyin.Style.INITIALS))


@lru_cache(maxsize=16384)
def finals_of(word: str) -> tuple[str, ...]:
    """The final of each character with its tone, such as `iang3`; a mark is itself."""
    pinyin = _library()
    style = pinyin.Style.FINALS_TONE3
    return tuple(pinyin.lazy_pinyin(word, neutral_tone_with_five=True, style=style))


def read_sentence(sentence: str) -> list[str]:
    """A sentence read by pypinyin as a whole: the ReadSentence without any model."""
    pinyin = _library()
    style = pinyin.Style.TONE3
    readings = pinyin.lazy_pinyin(
        sentence, neutral_tone_with_five=True, style=style, errors=lambda signs: list(signs)
    )
    return list(readings)


def split_pinyin(syllable: str) -> tuple[str, str]:
    """Initial and final with tone of one syllable: `zhong1` -> ("zh", "ong1"); marks twice."""
    if not syllable[:1].isalpha():
        return syllable, syllable
    from pypinyin.contrib.tone_convert import to_finals_tone3, to_initials

    return to_initials(syllable), to_finals_tone3(syllable, neutral_tone_with_five=True)


def spell(initial: str, final: str) -> tuple[str, ...]:
    """The symbols of a syllable, two, or one for a mark; none when it is no syllable we know.

    initial: as pypinyin gives it, empty before a vowel
    final:   with its tone at the end
    """
    if initial == final:
        return (initial,) if initial in PUNCTUATION else ()
    body, tone = final[:-1], final[-1:]
    if initial:
        syllable = initial + _AFTER_INITIAL.get(body, body)
    elif body in _WITHOUT_INITIAL:
        syllable = _WITHOUT_INITIAL[body]
    else:
        syllable = _FIRST_LETTER.get(body[:1], body[:1]) + body[1:]
    symbols = pinyin_to_symbols(syllable)
    return (symbols[0], symbols[1] + tone) if symbols and tone.isdigit() else ()


@lru_cache(maxsize=1)
def _library() -> Any:
    try:
        import pypinyin
    except ImportError as error:
        raise ModelError(
            "the Chinese readings are not installed",
            seen="no package pypinyin",
            cure="run: pip install pypinyin",
        ) from error
    return pypinyin
