"""English words outside the dictionary: known parts first, then a letter-to-sound model.

Knows how plural, past, possessive, -ing and compounds sound, and how to feed the CRF model
that comes with the dictionary package. It does not know heteronyms or sentences.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kouji.text.g2p.arpabet import is_vowel, read_ipa
from kouji.text.g2p.lexicon import data_folder
from kouji.text.phones import STRESS_OFFSET, Phone

Lookup = Callable[[str], "tuple[Phone, ...] | None"]

_SIBILANTS = frozenset({"S", "Z", "SH", "ZH", "CH", "JH"})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH", "S", "SH", "CH", "HH"})
_IH0 = Phone("IH", STRESS_OFFSET)
_AH0 = Phone("AH", STRESS_OFFSET)
_CLITICS = {
    "'ll": (_AH0, Phone("L")),
    "'ve": (_AH0, Phone("V")),
    "'re": (Phone("ER", STRESS_OFFSET),),
    "'m": (_AH0, Phone("M")),
    "n't": (_AH0, Phone("N"), Phone("T")),
}
_SUFFIXES: dict[str, tuple[Phone, ...]] = {
    "ing": (_IH0, Phone("NG")),
    "in'": (_IH0, Phone("N")),
    "er": (Phone("ER", STRESS_OFFSET),),
    "est": (_AH0, Phone("S"), Phone("T")),
    "ly": (Phone("L"), Phone("IY", STRESS_OFFSET)),
    "ness": (Phone("N"), _AH0, Phone("S")),
    "less": (Phone("L"), _AH0, Phone("S")),
    "ful": (Phone("F"), _AH0, Phone("L")),
    "ment": (Phone("M"), _AH0, Phone("N"), Phone("T")),
    "ish": (_IH0, Phone("SH")),
    "able": (_AH0, Phone("B"), _AH0, Phone("L")),
    "ism": (_IH0, Phone("Z"), _AH0, Phone("M")),
    "ist": (_AH0, Phone("S"), Phone("T")),
    "y": (Phone("IY", STRESS_OFFSET),),
}
_SILENT_E = frozenset({"ing", "er", "est", "able", "ish", "ism", "ist", "y", "in'"})
_PREFIXES: dict[str, tuple[Phone, ...]] = {
    "un": (_AH0, Phone("N")),
    "re": (Phone("R"), Phone("IY", STRESS_OFFSET)),
    "non": (Phone("N"), Phone("AA", STRESS_OFFSET + 2), Phone("N")),
    "pre": (Phone("P"), Phone("R"), Phone("IY", STRESS_OFFSET)),
    "mis": (Phone("M"), _IH0, Phone("S")),
    "anti": (Phone("AE", STRESS_OFFSET + 2), Phone("N"), Phone("T"), Phone("IY", STRESS_OFFSET)),
    "micro": tuple(map(Phone, ("M", "AY", "K", "R", "OW"), (0, STRESS_OFFSET + 2, 0, 0, 6))),
    "multi": tuple(map(Phone, ("M", "AH", "L", "T", "IY"), (0, STRESS_OFFSET + 2, 0, 0, 6))),
    "cyber": tuple(map(Phone, ("S", "AY", "B", "ER"), (0, STRESS_OFFSET + 2, 0, 6))),
    "hyper": tuple(map(Phone, ("HH", "AY", "P", "ER"), (0, STRESS_OFFSET + 2, 0, 6))),
    "super": tuple(map(Phone, ("S", "UW", "P", "ER"), (0, STRESS_OFFSET + 2, 0, 6))),
}
_MIN_PART = 4  # shorter halves make compounds of half the dictionary's names


def inflect(word: str, lookup: Lookup) -> tuple[Phone, ...] | None:
    """Phones of a word derived from one that `lookup` knows, or None.

    word: letters and apostrophes in lower case, not in the dictionary itself
    """
    for rule in (_clitic, _plural, _past, _suffix, _prefix, _compound):
        phones = rule(word, lookup)
        if phones is not None:
            return phones
    return None


def add_s(base: tuple[Phone, ...]) -> tuple[Phone, ...]:
    """The plural, possessive or third-person form of a sounded word."""
    last = base[-1].symbol
    if last in _SIBILANTS:
        return (*base, _IH0, Phone("Z"))
    return (*base, Phone("S" if last in _VOICELESS else "Z"))


def add_d(base: tuple[Phone, ...]) -> tuple[Phone, ...]:
    """The regular past form of a sounded word."""
    last = base[-1].symbol
    if last in ("T", "D"):
        return (*base, _IH0, Phone("D"))
    return (*base, Phone("T" if last in _VOICELESS else "D"))


def _clitic(word: str, lookup: Lookup) -> tuple[Phone, ...] | None:
    if word.endswith(("'s", "s'")):
        base = lookup(word[:-2] if word.endswith("'s") else word[:-1])
        if not base:
            return None
        return add_s(base) if word.endswith("'s") else base
    if word.endswith("'d"):
        base = lookup(word[:-2])
        return (
            (*base, _AH0, Phone("D")) if base and not is_vowel(base[-1]) else base and add_d(base)
        )
    for ending, sound in _CLITICS.items():
        base = lookup(word.removesuffix(ending)) if word.endswith(ending) else None
        if base:
            return (*base, *sound)
    return None


def _plural(word: str, lookup: Lookup) -> tuple[Phone, ...] | None:
    if not word.endswith("s") or word.endswith("ss"):
        return None
    stems = [word[:-1]]
    if word.endswith("ies"):
        stems.insert(0, word[:-3] + "y")
    elif word.endswith("es"):
        stems.append(word[:-2])
    return _first(stems, lookup, add_s)


def _past(word: str, lookup: Lookup) -> tuple[Phone, ...] | None:
    if not word.endswith("ed"):
        return None
    stems = [word[:-1], *_stems(word[:-2])]
    if word.endswith("ied"):
        stems.insert(0, word[:-3] + "y")
    return _first(stems, lookup, add_d)


def _suffix(word: str, lookup: Lookup) -> tuple[Phone, ...] | None:
    for ending, sound in _SUFFIXES.items():
        if not word.endswith(ending):
            continue
        stem = word.removesuffix(ending)
        stems = _stems(stem) if ending in _SILENT_E else [stem]
        if ending in _SILENT_E:
            stems.insert(1, stem + "e")
        if stem.endswith("i"):
            stems.append(stem[:-1] + "y")
        phones = _first(stems, lookup, tuple)
        if phones is not None:
            return (*phones, *sound)
    return None


def _prefix(word: str, lookup: Lookup) -> tuple[Phone, ...] | None:
    for start, sound in _PREFIXES.items():
        rest = word.removeprefix(start)
        if word.startswith(start) and len(rest) >= _MIN_PART:
            base = lookup(rest)
            if base:
                return (*sound, *base)
    return None


def _compound(word: str, lookup: Lookup) -> tuple[Phone, ...] | None:
    """Two known halves, the most even cut first; the second keeps a secondary stress."""
    cuts = sorted(
        range(_MIN_PART, len(word) - _MIN_PART + 1), key=lambda cut: abs(2 * cut - len(word))
    )
    for cut in cuts:
        first, second = lookup(word[:cut]), lookup(word[cut:])
        if first and second:
            return (*first, *map(_weaken, second))
    return None


def _weaken(phone: Phone) -> Phone:
    return Phone(phone.symbol, STRESS_OFFSET + 2) if phone.tone == STRESS_OFFSET + 1 else phone


def _stems(stem: str) -> list[str]:
    """Spellings a base may have before a vowel suffix: as it is, or with its doubled end undone."""
    doubled = len(stem) > 3 and stem[-1] == stem[-2]
    return [stem, stem[:-1]] if doubled else [stem]


def _first(
    stems: list[str], lookup: Lookup, finish: Callable[[tuple[Phone, ...]], tuple[Phone, ...]]
) -> tuple[Phone, ...] | None:
    for stem in stems:
        base = lookup(stem) if len(stem) >= 3 else None
        if base:
            return finish(base)
    return None


class LetterToSound:
    """The linear-chain CRF of the dictionary package: one label of IPA sounds a letter."""

    def __init__(self, path: str) -> None:
        """path: a CRFsuite model whose labels are base64 of IPA joined by `|`, `_` for silence."""
        import pycrfsuite

        self._tagger: Any = pycrfsuite.Tagger()
        self._tagger.open(path)
        self._lock = threading.Lock()  # a tagger holds the sequence it works on

    def pronounce(self, word: str) -> tuple[Phone, ...]:
        """Phones of any string of letters and apostrophes; empty if the model says nothing."""
        with self._lock:
            labels = self._tagger.tag([_features(word, index) for index in range(len(word))])
        phones: list[Phone] = []
        for label in labels:
            for sound in base64.b64decode(label).decode().split("|"):
                if sound != "_":
                    phones.extend(read_ipa(sound) or ())
        return tuple(phones)


def _features(word: str, index: int) -> dict[str, str | float | bool]:
    """The model's view of one letter: itself and three neighbours on each side."""
    features: dict[str, str | float | bool] = {"bias": 1.0, "grapheme": _encode(word[index])}
    for distance in (1, 2, 3):
        if index >= distance:
            features[f"grapheme-{distance}"] = _encode(word[index - distance])
        if index + distance < len(word):
            features[f"grapheme+{distance}"] = _encode(word[index + distance])
    if index == 0:
        features["begin"] = True
    if index == len(word) - 1:
        features["end"] = True
    return features


def _encode(letter: str) -> str:
    return base64.b64encode(letter.encode()).decode()


@lru_cache(maxsize=1)
def letter_to_sound() -> LetterToSound:
    """The one letter-to-sound model of the process, opened at first use (12 ms)."""
    return LetterToSound(str(data_folder() / "g2p" / "model.crf"))
