"""Chinese characters into phones: readings in context, then tone sandhi.

First version on pypinyin's phrase dictionary; punctuation and foreign signs are skipped.
"""

from __future__ import annotations

from kouji.text.g2p.pinyin import pinyin_to_phones
from kouji.text.phones import Phone

__all__ = ["hanzi_to_phones", "pinyin_to_phones"]


def hanzi_to_phones(text: str) -> list[tuple[str, tuple[Phone, ...]]]:
    """Each character with its phones, in order; characters without a reading are left out."""
    from pypinyin import Style, lazy_pinyin

    syllables = lazy_pinyin(
        text,
        style=Style.TONE3,
        neutral_tone_with_five=True,
        errors=lambda signs: ["" for _ in signs],  # type: ignore[arg-type, return-value]
    )
    signs = [sign for sign, syllable in zip(text, syllables, strict=True) if syllable]
    spoken = _sandhi(signs, [syllable for syllable in syllables if syllable])
    return [
        (sign, pinyin_to_phones(syllable)) for sign, syllable in zip(signs, spoken, strict=True)
    ]


def _sandhi(signs: list[str], syllables: list[str]) -> list[str]:
    spoken = list(syllables)
    for index, sign in enumerate(signs[:-1]):
        following = spoken[index + 1][-1]
        if sign == "不" and following == "4":
            spoken[index] = "bu2"
        elif (
            sign == "一"
            and spoken[index] == "yi1"
            and signs[index + 1] not in "一二三四五六七八九十"
        ):
            spoken[index] = "yi2" if following == "4" else "yi4"
    for index in range(len(spoken) - 1):
        if spoken[index][-1] == "3" and spoken[index + 1][-1] == "3":
            spoken[index] = spoken[index][:-1] + "2"
    return spoken
