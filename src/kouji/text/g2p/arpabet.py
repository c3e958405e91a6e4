"""IPA and ARPAbet: the table between the notations and their check.

Knows the symbols of American English as dictionaries and people write them, with stress.
It does not know words.
"""

from __future__ import annotations

from kouji.text.phones import (
    ARPABET_CONSONANTS,
    ARPABET_VOWELS,
    STRESS_OFFSET,
    Phone,
)

# Our own table. Signs that American English lacks map to the nearest of its sounds.
_VOWELS: dict[str, tuple[str, ...]] = {
    "ɑ": ("AA",), "ɑː": ("AA",), "ɒ": ("AA",), "a": ("AA",), "aː": ("AA",), "æ": ("AE",),
    "ʌ": ("AH",), "ɐ": ("AH",), "ə": ("AH",), "ɔ": ("AO",), "ɔː": ("AO",), "aʊ": ("AW",),
    "aw": ("AW",), "aɪ": ("AY",), "aj": ("AY",), "ɛ": ("EH",), "e": ("EH",), "ɛː": ("EH",),
    "ɚ": ("ER",), "ɝ": ("ER",), "ɜ": ("ER",), "ɜː": ("ER",), "əɹ": ("ER",), "ɜɹ": ("ER",),
    "eɪ": ("EY",), "ej": ("EY",), "eː": ("EY",), "ɪ": ("IH",), "ɨ": ("IH",), "i": ("IY",),
    "iː": ("IY",), "o": ("OW",), "oː": ("OW",), "oʊ": ("OW",), "əʊ": ("OW",), "ow": ("OW",),
    "ɔɪ": ("OY",), "oɪ": ("OY",), "ʊ": ("UH",), "u": ("UW",), "uː": ("UW",), "ʉ": ("UW",),
    "y": ("UW",), "ɪə": ("IH", "AH"), "eə": ("EH", "AH"), "ʊə": ("UH", "AH"), "ø": ("ER",),
    "œ": ("ER",), "ɤ": ("AH",), "ᵻ": ("IH",), "ɘ": ("AH",), "ɵ": ("AH",),
}  # fmt: skip
_CONSONANTS: dict[str, tuple[str, ...]] = {
    "b": ("B",), "t͡ʃ": ("CH",), "tʃ": ("CH",), "ʧ": ("CH",), "d": ("D",), "ð": ("DH",),
    "f": ("F",), "g": ("G",), "ɡ": ("G",), "h": ("HH",), "ɦ": ("HH",), "x": ("HH",),
    "d͡ʒ": ("JH",), "dʒ": ("JH",), "ʤ": ("JH",), "k": ("K",), "l": ("L",), "ɫ": ("L",),
    "m": ("M",), "n": ("N",), "ŋ": ("NG",), "p": ("P",), "ɹ": ("R",), "r": ("R",), "ɾ": ("D",),
    "s": ("S",), "ʃ": ("SH",), "t": ("T",), "θ": ("TH",), "v": ("V",), "w": ("W",),
    "ʍ": ("W",), "j": ("Y",), "z": ("Z",), "ʒ": ("ZH",), "ʔ": ("T",), "ɲ": ("N", "Y"),
    "l̩": ("AH", "L"), "n̩": ("AH", "N"), "m̩": ("AH", "M"), "ç": ("HH",), "β": ("V",),
    "ʁ": ("R",), "ɣ": ("G",), "ts": ("T", "S"), "t͡s": ("T", "S"), "dz": ("D", "Z"),
}  # fmt: skip
_STRESS = {"ˈ": 1, "'": 1, "ˌ": 2, ",": 2}
IPA = {**_VOWELS, **_CONSONANTS}


def read_ipa(token: str) -> tuple[Phone, ...] | None:
    """Phones of one IPA sound with its stress sign before it, such as `ˈoʊ`; None if unknown."""
    stress = _STRESS.get(token[:1], 0)
    symbols = IPA.get(token[1:] if stress else token)
    if symbols is None:
        return None
    return tuple(
        _phone(symbol, stress if index == 0 else 0) for index, symbol in enumerate(symbols)
    )


def read_arpabet(token: str) -> Phone | None:
    """The phone of one ARPAbet token: `EH1`, `K`, a vowel without a digit is unstressed."""
    body, digit = (token[:-1], token[-1]) if token[-1:].isdigit() else (token, "")
    if body in ARPABET_CONSONANTS and not digit:
        return Phone(body)
    if body in ARPABET_VOWELS and digit in ("", "0", "1", "2"):
        return Phone(body, STRESS_OFFSET + int(digit or "0"))
    return None


def is_vowel(phone: Phone) -> bool:
    """True for the vowels of English, which carry stress."""
    return phone.symbol in ARPABET_VOWELS


def _phone(symbol: str, stress: int) -> Phone:
    return Phone(symbol, STRESS_OFFSET + stress) if symbol in ARPABET_VOWELS else Phone(symbol)
