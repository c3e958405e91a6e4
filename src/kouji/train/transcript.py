"""What is said in a clip, as phone ids with tones, words and word boundaries.

Transcripts in hanzi or English go through the same front end as text to be spoken; pinyin
as annotated is taken as it stands. Punctuation stays as pauses where the text has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import TextError
from ..text.phones import PAUSES, SYMBOL_IDS, Phone

WORD_START, WORD_END = 1, 2
_TOKEN = re.compile(r"[a-zA-Z][a-zA-Z'’]*|[㐀-鿿]+|[,.?!;:，。？！；：、]|\d+")
_PAUSE_OF = {
    "，": ",",
    "、": ",",
    "；": ",",
    "：": ",",
    ";": ",",
    ":": ",",
    "。": ".",
    "？": "?",
    "！": "!",
}


def transcript_phones(text: str, language: str, pinyin: str = "") -> dict[str, NDArray[Any]]:
    """Phone arrays of the store for one transcript: phones, tones, words and boundary.

    language: zh, en or zh-pinyin (then `text` is tone-numbered syllables)
    pinyin:   syllables as spoken; preferred to `text` if all of them can be read
    raises:   TextError if nothing in the text has a sound or a syllable does not exist
    """
    from ..text.g2p.pinyin import pinyin_to_phones

    units: list[tuple[Phone, ...] | str] = []
    if language == "zh-pinyin" or pinyin:
        units = [pinyin_to_phones(syllable) for syllable in (pinyin or text).split()]
    else:
        units = list(_units(text))
    arrays = _pack(units)
    if not (arrays["words"] >= 0).any():
        raise TextError("nothing in this text can be spoken", seen=text[:80])
    return arrays


def _units(text: str) -> Iterator[tuple[Phone, ...] | str]:
    from ..text.g2p.chinese import hanzi_to_phones
    from ..text.g2p.english import spell, word_to_phones

    for token in _TOKEN.findall(text):
        if token[0].isdigit():
            raise TextError("digits", seen=text)
        if token in PAUSES or token in _PAUSE_OF:
            yield _PAUSE_OF.get(token, token)
        elif token[0].isascii():
            word = token.replace("’", "'")
            yield spell(word) if word.isupper() and 1 < len(word) <= 3 else word_to_phones(word)
        else:
            for _, phones in hanzi_to_phones(token):
                yield phones


def _pack(units: list[tuple[Phone, ...] | str]) -> dict[str, NDArray[Any]]:
    """Lay out words (tuples of phones) and pauses (their symbol) as arrays."""
    rows: list[tuple[int, int, int, int]] = []
    word = 0
    for unit in units:
        if isinstance(unit, str):
            if rows and rows[-1][2] >= 0:  # no pause before the first word, none twice
                rows.append((SYMBOL_IDS[unit], 0, -1, 0))
            continue
        for index, phone in enumerate(unit):
            flags = (WORD_START if index == 0 else 0) | (WORD_END if index == len(unit) - 1 else 0)
            rows.append((SYMBOL_IDS[phone.symbol], phone.tone, word, flags))
        word += bool(unit)
    table = np.array(rows, np.int64).reshape(-1, 4)
    return {
        "phones": table[:, 0].astype(np.int16),
        "tones": table[:, 1].astype(np.int8),
        "words": table[:, 2].astype(np.int16),
        "boundary": table[:, 3].astype(np.uint8),
    }
