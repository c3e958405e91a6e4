"""Chinese text as it is read out, before pinyin: numbers, units, signs, marks.

The order of the readers is that of the official normaliser (PaddleSpeech's, adapted), and so
are its habits: an abbreviation is replaced even inside a word, what is no hanzi and no mark is
dropped at the end. English must have been taken out before.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from kouji.models.gpt_sovits.cut import collapse_punctuation
from kouji.models.gpt_sovits.symbols import PUNCTUATION
from kouji.models.gpt_sovits.text.zh_quantities import read_quantities
from kouji.models.gpt_sovits.text.zh_times import read_dates, read_times
from kouji.models.gpt_sovits.text.zh_units import CIRCLED, GREEK, SIGNS
from kouji.models.optional import import_library

_DROPPED = r"—《》【】<>{}()（）#&@“”^_|\\"
_SENTENCE_END = re.compile(r"([：、，；。？！,;?!][”’]?)")
_BEFORE = re.compile(f"[{_DROPPED}]")
_AFTER = re.compile(rf"[\-={_DROPPED}]")
_HALF_WIDTH = {
    wide: wide - 0xFEE0
    for first, last in ("０９", "ＡＺ", "ａｚ")
    for wide in range(ord(first), ord(last) + 1)
}
_HALF_WIDTH[0x3000] = 0x20
_MARKS = {
    "：": ",", "；": ",", "，": ",", "、": ",", "·": ",", "/": ",", "。": ".", "\n": ".", "$": ".",
    "！": "!", "？": "?", "...": "…", "—": "-", "~": "…", "～": "…",
}  # fmt: skip
_MARK = re.compile("|".join(re.escape(mark) for mark in _MARKS))
_UNSPOKEN = re.compile(rf"[^一-龥{re.escape(''.join(PUNCTUATION))}]+")
_ALSO_SIMPLIFIED = frozenset("乾徵")  # of 乾隆 and 宫商角徵羽, which are not 干 and 征
# Forms of the same sound that the networks were trained with; libraries take a plainer character.
_KEPT_APART = dict(zip("鍾餘託諮瀋鉅鏇", "锺馀讬谘渖钜镟", strict=True))
_READ_AS = str.maketrans("嗯呣", "恩母")
_READ_SIGNS = str.maketrans({**SIGNS, **CIRCLED, **GREEK})


def normalise(text: str) -> str:
    """Hanzi and the marks ! ? … , . - only; what else the text had is read out or dropped."""
    spoken = "".join(replace_marks(sentence) for sentence in read_sentences(text))
    return collapse_punctuation(spoken)


def read_sentences(text: str) -> list[str]:
    """The sentences of a text with numbers and signs read out and their marks kept."""
    text = _BEFORE.sub("", text.replace(" ", ""))
    lines = _SENTENCE_END.sub(r"\1\n", text).strip().split("\n")
    return [_read_sentence(line.strip()) for line in lines if line.strip()]


def unspoken(text: str) -> tuple[str, ...]:
    """Letters, digits and symbols of a text that `normalise` drops, in order; marks are none."""
    left = (sign for sentence in read_sentences(text) for sign in _dropped_from(sentence))
    return tuple(sign for sign in left if unicodedata.category(sign)[0] in "LNS")


def _dropped_from(sentence: str) -> str:
    return "".join(_UNSPOKEN.findall(_replace_known_marks(sentence)))


def replace_marks(sentence: str) -> str:
    """Marks become those of the symbol table; all but them and hanzi is dropped."""
    return _UNSPOKEN.sub("", _replace_known_marks(sentence))


def _replace_known_marks(sentence: str) -> str:
    return _MARK.sub(lambda match: _MARKS[match.group()], sentence.translate(_READ_AS))


def _read_sentence(sentence: str) -> str:
    sentence = to_simplified(sentence).translate(_HALF_WIDTH)
    sentence = read_quantities(read_times(read_dates(sentence)))
    return _AFTER.sub("", sentence.translate(_READ_SIGNS))


def to_simplified(text: str) -> str:
    """Traditional characters become simplified ones, each by itself.

    raises: UsageError when the library for it is not installed
    """
    return "".join(_simplified(sign) if sign >= "\u3400" else sign for sign in text)


@lru_cache(maxsize=16384)
def _simplified(character: str) -> str:
    """A character stays where the networks do not know its simplified form."""
    if character in _ALSO_SIMPLIFIED:
        return character
    if character in _KEPT_APART:
        return _KEPT_APART[character]
    converted: str = _converter().convert(character)
    return converted if re.fullmatch("[一-龥]", converted) else character


@lru_cache(maxsize=1)
def _converter() -> Any:
    return import_library("opencc", "Chinese for GPT-SoVITS").OpenCC("t2s")
