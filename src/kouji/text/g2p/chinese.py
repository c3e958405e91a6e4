"""Chinese characters into phones: words, readings in context, erhua, then tone sandhi.

Knows one stretch of hanzi at a time, the text between two pauses; sounds the caller fixed by
marks stand in it as signs with a syllable of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from kouji.text.g2p import segment
from kouji.text.g2p.context import read_in_context
from kouji.text.g2p.pinyin import pinyin_to_phones, spell_syllable, with_tone
from kouji.text.g2p.polyphones import FULL_ER_AFTER
from kouji.text.g2p.readings import read_name, read_word
from kouji.text.g2p.sandhi import Syllable, apply_sandhi
from kouji.text.phones import Phone

__all__ = ["FIXED", "SpokenWord", "hanzi_to_phones", "pinyin_to_phones", "read_stretch"]

FIXED = "\ufffc"  # stands in a stretch for a syllable given by its sound
_ERHUA = "r"
_STRETCH = re.compile(r"[〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")


class SpokenWord(NamedTuple):
    """A word of a stretch: characters `start` to `end`, the phones of each character."""

    start: int
    end: int
    phones: tuple[tuple[Phone, ...], ...]


def hanzi_to_phones(text: str) -> list[tuple[str, tuple[Phone, ...]]]:
    """Each character with its phones, in order; characters without a reading are left out.

    Anything that is no hanzi parts the text, as a pause does.
    """
    spoken: list[tuple[str, tuple[Phone, ...]]] = []
    for match in _STRETCH.finditer(text):
        for word in read_stretch(match.group()):
            characters = match.group()[word.start : word.end]
            spoken += [pair for pair in zip(characters, word.phones, strict=True) if pair[1]]
    return spoken


def read_stretch(
    text: str, fixed: Mapping[int, tuple[Phone, ...]] | None = None
) -> list[SpokenWord]:
    """Words of a stretch spoken without pause, with phones; unreadable characters have none.

    text:  hanzi, with FIXED at every key of `fixed`
    fixed: phones of the syllables given by the caller
    """
    fixed = fixed or {}
    tokens = [token for part in _parts(text) for token in part]
    words = [_syllables(tokens, index, fixed) for index in range(len(tokens))]
    _mark_erhua(words)
    spoken = apply_sandhi(words)
    result = []
    tone_before = 5
    for token, word in zip(tokens, spoken, strict=True):
        phones = []
        for offset, syllable in enumerate(word):
            # the erhua coda moves with the tone sandhi gave its syllable
            tone = tone_before if syllable.pinyin == _ERHUA else syllable.tone
            given = fixed.get(token.start + offset) if syllable.is_fixed else None
            phones.append(given or _phones(syllable.pinyin, tone))
            tone_before = tone
        result.append(SpokenWord(token.start, token.end, tuple(phones)))
    return result


def _parts(text: str) -> list[list[segment.Token]]:
    """Tokens of the stretch; a fixed syllable is a word by itself."""
    parts: list[list[segment.Token]] = []
    for match in re.finditer(f"{FIXED}|[^{FIXED}]+", text):
        if match.group() == FIXED:
            parts.append([segment.Token(FIXED, match.start(), match.end(), "x")])
        else:
            shift = match.start()
            tokens = segment.cut(match.group())
            parts.append([t._replace(start=t.start + shift, end=t.end + shift) for t in tokens])
    return parts


def _syllables(
    tokens: list[segment.Token], index: int, fixed: Mapping[int, tuple[Phone, ...]]
) -> list[Syllable]:
    token = tokens[index]
    if token.text == FIXED:
        tone = max((phone.tone for phone in fixed[token.start]), default=5)
        return [Syllable(FIXED, "", tone, is_fixed=True)]
    if len(token.text) == 1:
        decided = read_in_context(tokens, index)
        if decided is not None:
            return [Syllable(token.text, decided[:-1], int(decided[-1]))]
    name = read_name(token.text) if token.tag.startswith("nr") else None
    readings = name or read_word(token.text)
    return [
        Syllable(character, *(reading or ("", 5)))
        for character, reading in zip(token.text, readings, strict=True)
    ]


def _mark_erhua(words: list[list[Syllable]]) -> None:
    """Mark every 儿 that only colours the syllable before it; the sound is the coda `rr`."""
    for index, word in enumerate(words):
        for place, syllable in enumerate(word):
            if syllable.character != "儿" or (place == 0 and index == 0):
                continue
            before = word[place - 1] if place else words[index - 1][-1]
            is_last = place + 1 == len(word)
            if is_last and before.pinyin and before.character not in FULL_ER_AFTER:
                word[place] = Syllable(
                    "儿", _ERHUA, 5
                )  # its tone is that of `before`, after sandhi


def _phones(pinyin: str, tone: int) -> tuple[Phone, ...]:
    sounds = spell_syllable(pinyin) if pinyin else None
    return with_tone(sounds, tone) if sounds else ()
