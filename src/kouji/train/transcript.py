"""What is said in a clip, as phone ids with tones, words and word boundaries.

Transcripts go through the same front end as text to be spoken, so a model meets in use what
it met in training; pinyin as annotated is preferred to guessed readings. Punctuation stays
as pauses where the text has it, and nothing is put where it has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TextError
from ..text.front import Pause, Word, phones_of
from ..text.phones import SYMBOL_IDS
from ..text.units import Unit

WORD_START, WORD_END = 1, 2


def transcript_phones(text: str, language: str, pinyin: str = "") -> dict[str, NDArray[Any]]:
    """Phone arrays of the store for one transcript: phones, tones, words and boundary.

    language: zh, en or zh-pinyin (then `text` is tone-numbered syllables)
    pinyin:   syllables as spoken, preferred to the readings of `text` if given
    raises:   TextError if nothing in the text has a sound or a syllable does not exist
    """
    units = _annotated(text, pinyin) if pinyin else phones_of(text, language)
    rows: list[tuple[int, int, int, int]] = []
    word = 0
    for unit in units:
        if isinstance(unit, Pause) and rows and rows[-1][2] >= 0:  # none first, none twice
            rows.append((SYMBOL_IDS[unit.mark], 0, -1, 0))
        if not isinstance(unit, Word) or not unit.phones:
            continue
        last = len(unit.phones) - 1
        for index, phone in enumerate(unit.phones):
            flags = WORD_START * (index == 0) + WORD_END * (index == last)
            rows.append((SYMBOL_IDS[phone.symbol], phone.tone, word, flags))
        word += 1
    if word == 0:
        raise TextError("nothing in this text can be spoken", seen=text[:80])
    table = np.array(rows, np.int64)
    return {
        "phones": table[:, 0].astype(np.int16),
        "tones": table[:, 1].astype(np.int8),
        "words": table[:, 2].astype(np.int16),
        "boundary": table[:, 3].astype(np.uint8),
    }


def _annotated(text: str, pinyin: str) -> Sequence[Unit]:
    """The words and pauses of `text` with the annotated syllables as their phones.

    Where characters and syllables do not match one to one (erhua in one syllable, letters
    between the characters), each syllable is a word of its own and pauses are lost.
    """
    syllables = [unit for unit in phones_of(pinyin, "zh-pinyin") if isinstance(unit, Word)]
    try:
        units = phones_of(text, "zh") if text else ()
    except TextError:
        return syllables
    if sum(len(unit.text) for unit in units if isinstance(unit, Word)) != len(syllables):
        return syllables
    spoken: list[Unit] = []
    used = 0
    for unit in units:
        if isinstance(unit, Word):
            own = syllables[used : used + len(unit.text)]
            used += len(own)
            unit = replace(unit, phones=tuple(phone for one in own for phone in one.phones))
        spoken.append(unit)
    return spoken
