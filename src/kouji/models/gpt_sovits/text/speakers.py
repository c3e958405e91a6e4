"""Each language's way from text to symbols under one name, and what it cannot say.

A language's modules and libraries are imported when it is first spoken.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from functools import partial

from kouji.models.gpt_sovits.symbols import LONG_PAUSE, LONGEST_PAUSE
from kouji.models.gpt_sovits.text.phonemes import Phonemes
from kouji.models.gpt_sovits.text.zh import WORD_BY_WORD, Pinyin

Speaker = Callable[[str], Phonemes]

# A mark that makes every comma of a Chinese piece a longer pause; the first one found counts.
_PAUSES = (("￥", LONG_PAUSE), ("^", LONGEST_PAUSE))
_SAID_IN_ENGLISH = frozenset("°£×÷")


def speakers(pinyin: Pinyin = WORD_BY_WORD) -> Mapping[str, Speaker]:
    """The way to speak each language of MODES."""
    return {
        "zh": partial(speak_chinese, pinyin=pinyin),
        "en": _speak_english,
        "ja": _speak_japanese,
        "ko": _speak_korean,
        "yue": _speak_cantonese,
    }


def speak_chinese(text: str, pinyin: Pinyin = WORD_BY_WORD) -> Phonemes:
    """Chinese, with the pauses that ￥ and ^ ask for."""
    from kouji.models.gpt_sovits.text.zh import phonemize

    for mark, pause in _PAUSES:
        if mark in text:
            spoken = phonemize(text.replace(mark, ","), pinyin)
            phones = tuple(pause if phone == "," else phone for phone in spoken.phones)
            return Phonemes(phones, spoken.word2ph, spoken.norm_text)
    return phonemize(text, pinyin)


def _speak_english(text: str) -> Phonemes:
    from kouji.models.gpt_sovits.text.en_g2p import phonemize

    return phonemize(text)


def _speak_japanese(text: str) -> Phonemes:
    from kouji.models.gpt_sovits.text.ja import phonemize

    return phonemize(text)


def _speak_korean(text: str) -> Phonemes:
    from kouji.models.gpt_sovits.text.ko import phonemize

    return phonemize(text)


def _speak_cantonese(text: str) -> Phonemes:
    from kouji.models.gpt_sovits.text.yue import phonemize

    return phonemize(text)


def unspoken(text: str, language: str) -> str:
    """The letters, digits and symbols of a piece that its language leaves out, in order."""
    if language in ("zh", "yue"):
        from kouji.models.gpt_sovits.text import zh_normalise

        pauses = "".join(mark for mark, _ in _PAUSES)
        return "".join(sign for sign in zh_normalise.unspoken(text) if sign not in pauses)
    says = {"en": _is_english, "ja": _is_japanese}.get(language)
    return "".join(sign for sign in text if says and _has_sound(sign) and not says(sign))


def _has_sound(sign: str) -> bool:
    return unicodedata.category(sign)[:1] in "LN" or unicodedata.category(sign) == "So"


def _is_english(sign: str) -> bool:
    base = unicodedata.normalize("NFD", sign)[0]
    return base.isascii() or sign in _SAID_IN_ENGLISH


def _is_japanese(sign: str) -> bool:
    if sign.isascii() or sign == "々":
        return True
    name = unicodedata.name(sign, "")
    return name.startswith(("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "FULLWIDTH"))
