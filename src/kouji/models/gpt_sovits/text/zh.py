"""Chinese text to symbols: normalised, cut into words, read, and spoken with its tones.

Two ways to readings: word by word (the official code with g2pW switched off, and all of v1), or
a reader of whole sentences whose words a dictionary puts right (g2pW on).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kouji.models.gpt_sovits.symbols import PUNCTUATION
from kouji.models.gpt_sovits.text.phonemes import Phonemes
from kouji.models.gpt_sovits.text.zh_erhua import spoken_er
from kouji.models.gpt_sovits.text.zh_normalise import normalise
from kouji.models.gpt_sovits.text.zh_override import Readings, correct_word
from kouji.models.gpt_sovits.text.zh_pinyin import (
    ReadSentence,
    finals_of,
    initials_of,
    spell,
    split_pinyin,
)
from kouji.models.gpt_sovits.text.zh_sandhi import spoken_finals
from kouji.models.gpt_sovits.text.zh_words import Word, cut_words, merge_words

_AFTER_MARK = re.compile(f"(?<=[{re.escape(''.join(PUNCTUATION))}])")


@dataclass(frozen=True)
class Pinyin:
    """How Chinese is read.

    read:  a reader of sentences such as g2pW; None reads word by word with pypinyin
    known: the official dictionary that corrects `read`; None takes pypinyin's phrases
    """

    read: ReadSentence | None = None
    known: Readings | None = None


WORD_BY_WORD = Pinyin()


def phonemize(text: str, pinyin: Pinyin = WORD_BY_WORD) -> Phonemes:
    """Symbols of Chinese text; `word2ph` has one count per character of `norm_text`."""
    phones: list[str] = []
    word2ph: list[int] = []
    spoken: list[str] = []
    for sentence in split_sentences(normalise(text)):
        for character, symbols in zip(sentence, _symbols(sentence, pinyin), strict=True):
            if symbols:  # a character nobody can read is not spoken
                phones += symbols
                word2ph.append(len(symbols))
                spoken.append(character)
    return Phonemes(tuple(phones), tuple(word2ph), "".join(spoken))


def split_sentences(text: str) -> list[str]:
    """Normalised text cut behind each of its marks."""
    return [sentence for sentence in _AFTER_MARK.split(text) if sentence]


def _symbols(sentence: str, pinyin: Pinyin) -> list[tuple[str, ...]]:
    readings = pinyin.read(sentence) if pinyin.read else None
    symbols: list[tuple[str, ...]] = []
    for word in merge_words(cut_words(sentence)):
        start = len(symbols)
        given = readings[start : start + len(word.text)] if readings is not None else None
        symbols += _speak_word(word, given, pinyin.known)
    return symbols


def _speak_word(
    word: Word, readings: list[str] | None, known: Readings | None
) -> list[tuple[str, ...]]:
    """The symbols of each character of one word."""
    if readings is None:
        initials, finals = list(initials_of(word.text)), list(finals_of(word.text))
    else:
        pairs = [split_pinyin(each) for each in correct_word(word.text, readings, known)]
        initials, finals = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    finals = spoken_er(word, spoken_finals(word, finals))
    return [spell(*pair) for pair in zip(initials, finals, strict=True)]
