"""Sounds written by the caller: runs of `[…]` marks and phonetic strings into phones.

Reads pinyin (one mark a syllable, or initial and final apart), ARPAbet and IPA. Knows the
notations, not where marks stand in a text nor what surrounds them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

from kouji.errors import MarkError
from kouji.text.g2p.arpabet import IPA, is_vowel, read_arpabet, read_ipa
from kouji.text.g2p.pinyin import spell_syllable, strip_tone_mark, with_tone
from kouji.text.phones import INITIALS, STRESS_OFFSET, Phone
from kouji.text.units import NEUTRAL, Prosody
from kouji.types import Language

ALLOWED = (
    "pinyin [hǎo], [hao3] or [h][ǎo]; ARPAbet [K][L][EH1][R] or [K L EH1 R]; IPA [k l ɛ r]; "
    "[break 0.5s]; events such as [breath] and [laughter]"
)
NEUTRAL_TONE = 5
_LONGEST_IPA = max(map(len, IPA))
_STRESS_SIGNS = {"ˈ": 1, "ˌ": 2}
_SILENT_IPA = frozenset(".‿|ː ˑ͡")
_SAME_IPA = str.maketrans({":": "ː", "ε": "ɛ", "'": "ˈ", "’": "ˈ", "ʌ": "ʌ"})


class Mark(NamedTuple):
    """One bracket mark: what stands inside it and its span, brackets included."""

    content: str
    start: int
    end: int


@dataclass(frozen=True)
class Phonetic:
    """A word given by its sounds; `syllables` are one tuple of phones per hanzi, or one word."""

    text: str
    language: Language
    syllables: tuple[tuple[Phone, ...], ...]
    start: int
    end: int
    prosody: Prosody = NEUTRAL


def read_marks(marks: list[Mark], prosody: Prosody = NEUTRAL) -> list[Phonetic]:
    """Words of a run of adjacent phonetic marks; MarkError at the first that makes no sound."""
    words: list[Phonetic] = []
    index = 0
    while index < len(marks):
        word, used = _read_word(marks, index, prosody)
        words.append(word)
        index += used
    return words


def read_string(
    alphabet: str, written: str
) -> tuple[Language, tuple[tuple[Phone, ...], ...]] | None:
    """Sounds of a phonetic string in the alphabet "ipa", "x-arpabet" or "pinyin", None if wrong."""
    tokens = written.split()
    if not tokens:
        return None
    if alphabet == "ipa":
        phones = _read_ipa(written)
        return None if phones is None else ("en", (phones,))
    if alphabet == "x-arpabet":
        phones = _read_arpabet([token.upper() for token in tokens])
        return None if phones is None else ("en", (phones,))
    syllables = [read_syllable(token) for token in tokens]
    found = tuple(syllable for syllable in syllables if syllable is not None)
    return ("zh", found) if len(found) == len(syllables) else None


def read_syllable(written: str) -> tuple[Phone, ...] | None:
    """A pinyin syllable with a tone mark, a tone number or neither (neutral tone), or None."""
    body, tone = strip_tone_mark(written)
    if tone is None and body[-1:] in tuple("012345"):
        body, tone = body[:-1], int(body[-1]) or NEUTRAL_TONE
    sounds = spell_syllable(body) if body and body.isalpha() else None
    return None if sounds is None else with_tone(sounds, tone or NEUTRAL_TONE)


def _read_word(marks: list[Mark], index: int, prosody: Prosody) -> tuple[Phonetic, int]:
    """The word that begins at mark `index` and how many marks it takes."""
    mark = marks[index]
    if " " in mark.content.strip():
        for alphabet in ("x-arpabet-exact", "ipa", "pinyin", "x-arpabet"):
            found = _read_spaced(alphabet, mark.content)
            if found is not None:
                return Phonetic(mark.content, *found, mark.start, mark.end, prosody), 1
        raise _wrong(mark)
    if read_arpabet(mark.content) is not None:
        run = index
        while run < len(marks) and read_arpabet(marks[run].content) is not None:
            run += 1
        phones = _read_arpabet([each.content for each in marks[index:run]])
        if phones is not None:
            text = " ".join(each.content for each in marks[index:run])
            end = marks[run - 1].end
            return Phonetic(text, "en", (phones,), mark.start, end, prosody), run - index
    return _read_syllable_marks(marks, index, prosody) or _read_ipa_marks(marks, index, prosody)


def _read_spaced(
    alphabet: str, content: str
) -> tuple[Language, tuple[tuple[Phone, ...], ...]] | None:
    if alphabet == "x-arpabet-exact":  # upper case decides before IPA may read the letters
        return read_string("x-arpabet", content) if content.isupper() else None
    return read_string(alphabet, content)


def _read_syllable_marks(
    marks: list[Mark], index: int, prosody: Prosody
) -> tuple[Phonetic, int] | None:
    """One mark with a whole syllable, or an initial followed by a final."""
    mark = marks[index]
    body, _ = strip_tone_mark(mark.content)
    if body in (*INITIALS, "y", "w"):
        if index + 1 < len(marks):
            joined = read_syllable(mark.content + marks[index + 1].content)
            if joined is not None:
                text, end = mark.content + marks[index + 1].content, marks[index + 1].end
                return Phonetic(text, "zh", (joined,), mark.start, end, prosody), 2
        if body == mark.content:  # an initial alone is half a syllable, not an interjection
            return None
    syllable = read_syllable(mark.content)
    if syllable is None or mark.content != mark.content.lower():
        return None
    return Phonetic(mark.content, "zh", (syllable,), mark.start, mark.end, prosody), 1


def _read_ipa_marks(marks: list[Mark], index: int, prosody: Prosody) -> tuple[Phonetic, int]:
    """All marks from here as the sounds of one word in IPA, `[k][l][ɛ][r]` or `[klɛr]`."""
    single = marks[index]
    for run in (marks[index:], [single]):
        written = "".join(mark.content for mark in run)
        phones = _read_ipa(written)
        if phones is not None and (len(run) > 1 or not written.isascii()):
            text = " ".join(mark.content for mark in run)
            return Phonetic(text, "en", (phones,), run[0].start, run[-1].end, prosody), len(run)
    raise _wrong(single)


def _read_arpabet(tokens: list[str]) -> tuple[Phone, ...] | None:
    phones = [read_arpabet(token) for token in tokens]
    found = tuple(phone for phone in phones if phone is not None)
    if len(found) < len(phones):
        return None
    has_digit = any(token[-1].isdigit() for token in tokens)
    return found if has_digit else stress_first(found)


def _read_ipa(written: str) -> tuple[Phone, ...] | None:
    """Greedy reading of IPA with or without blanks; a stress sign waits for the next vowel."""
    text = unicodedata.normalize("NFC", written).translate(_SAME_IPA)
    phones: list[Phone] = []
    index, stress = 0, 0
    while index < len(text):
        if text[index] in _STRESS_SIGNS:
            stress = _STRESS_SIGNS[text[index]]
            index += 1
            continue
        if text[index] in _SILENT_IPA:
            index += 1
            continue
        taken = next(
            (size for size in range(_LONGEST_IPA, 0, -1) if text[index : index + size] in IPA), 0
        )
        sounds = read_ipa(text[index : index + taken]) if taken else None
        if sounds is None:
            return None
        for sound in sounds:
            if stress and is_vowel(sound):
                sound, stress = Phone(sound.symbol, STRESS_OFFSET + stress), 0
            phones.append(sound)
        index += taken
    return stress_first(tuple(phones)) if phones else None


def stress_first(phones: tuple[Phone, ...]) -> tuple[Phone, ...]:
    """Stress the first vowel of a word in which none is stressed; other words as they are."""
    if any(phone.tone > STRESS_OFFSET for phone in phones):
        return phones
    for index, phone in enumerate(phones):
        if is_vowel(phone):
            return (*phones[:index], Phone(phone.symbol, STRESS_OFFSET + 1), *phones[index + 1 :])
    return phones


def _wrong(mark: Mark) -> MarkError:
    is_citation = bool(re.fullmatch(r"[\d\W]*|.*[\u4e00-\u9fff].*", mark.content))
    return MarkError(
        "unknown mark" if is_citation else "mark that is no sound",
        start=mark.start,
        end=mark.end,
        seen=f"[{mark.content}]",
        allowed=ALLOWED,
        cure=r"write \[ for a bracket that belongs to the text",
    )
