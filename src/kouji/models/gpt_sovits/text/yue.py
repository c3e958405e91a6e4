"""Cantonese text to GPT-SoVITS symbols: Jyutping, cut into a bare onset and a toned rest.

The library ToJyutping knows the readings; numbers and signs are read out as in Mandarin. The cut
follows a fixed order of prefixes, a fact of the format: some "onsets" are whole vowels, so `aa3`
is `Yaa Ya3` and `aai3` is `Yaa Yi3`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from kouji.models.gpt_sovits.symbols import PUNCTUATION, UNKNOWN
from kouji.models.gpt_sovits.text.phonemes import Phonemes
from kouji.models.gpt_sovits.text.zh_normalise import read_sentences
from kouji.models.optional import import_library

_ONSETS = (
    "aa aai aak aap aat aau ai au ap at ak a p b e ts t dz d kw k gw g f h l m ng n s y w c z j "
    "ong on ou oi ok o uk ung"
).split()
_MARKS = {
    "：": ",", "；": ",", "，": ",", "、": ",", "·": ",", "。": ".", "\n": ".", "$": ".",
    "！": "!", "？": "?", "...": "…", "—": "-", "～": "-", "~": "-",
}  # fmt: skip
_MARK = re.compile("|".join(map(re.escape, _MARKS)))
_UNSPOKEN = re.compile(rf"[^一-龥{re.escape(''.join(PUNCTUATION))}]+")
_SYLLABLE = re.compile(r"([a-z]+)([1-6])")


def phonemize(text: str) -> Phonemes:
    """Symbols of a piece of Cantonese text, hanzi simplified as in training.

    returns: word2ph has 2 for a character of one syllable, 1 for a mark
    Raises UsageError without the library (extra yue).
    """
    norm_text = "".join(map(_replace_marks, read_sentences(text)))
    phones: list[str] = []
    word2ph: list[int] = []
    for character, reading in _to_jyutping().get_jyutping_list(norm_text):
        symbols = _symbols(character, reading)
        phones += symbols
        word2ph.append(len(symbols))
    return Phonemes(tuple(phones), tuple(word2ph), norm_text)


def _replace_marks(sentence: str) -> str:
    """Marks of the table and hanzi only; unlike in Mandarin, runs of marks stay."""
    return _UNSPOKEN.sub("", _MARK.sub(lambda found: _MARKS[found[0]], sentence))


def _symbols(character: str, reading: str | None) -> list[str]:
    """Symbols of one character; a few, such as 卅, have two syllables."""
    if character in PUNCTUATION:
        return [character]
    syllables = _SYLLABLE.findall(reading or "")
    return [symbol for each in syllables for symbol in split_syllable(*each)] or [UNKNOWN]


def split_syllable(syllable: str, tone: str) -> tuple[str, str]:
    """Onset and toned rest of a Jyutping syllable: `jam`, `1` -> `Yj`, `Yam1`.

    What has nothing left behind its onset repeats the onset's last letter: `m`, `4` -> `Ym`, `Ym4`.
    """
    if syllable.startswith("nga"):  # the only rest that "ng" must not share with "n"
        onset = "ng"
    else:
        onset = next((each for each in _ONSETS if syllable.startswith(each)), syllable)
    rest = syllable[len(onset) :] or onset[-1]
    return f"Y{onset}", f"Y{rest}{tone}"


@lru_cache(maxsize=1)
def _to_jyutping() -> Any:
    return import_library("ToJyutping", "Cantonese", extra="yue")
