"""English words into ARPAbet phones: dictionary, heteronyms, derived and unknown words, letters.

Knows single words; `pos` comes from the tagger. It never fails on letters: what no source
can pronounce is spelled.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from kouji.text.g2p.arpabet import is_vowel, read_arpabet, read_ipa
from kouji.text.g2p.fallback import inflect, letter_to_sound
from kouji.text.g2p.lexicon import Entry, english_lexicon
from kouji.text.g2p.neighbours import RULES
from kouji.text.phones import STRESS_OFFSET, Phone

_LETTERS = {
    "a": "EY1", "b": "B IY1", "c": "S IY1", "d": "D IY1", "e": "IY1", "f": "EH1 F",
    "g": "JH IY1", "h": "EY1 CH", "i": "AY1", "j": "JH EY1", "k": "K EY1", "l": "EH1 L",
    "m": "EH1 M", "n": "EH1 N", "o": "OW1", "p": "P IY1", "q": "K Y UW1", "r": "AA1 R",
    "s": "EH1 S", "t": "T IY1", "u": "Y UW1", "v": "V IY1", "w": "D AH1 B AH0 L Y UW0",
    "x": "EH1 K S", "y": "W AY1", "z": "Z IY1",
}  # fmt: skip
_COUSINS = {"VBN": "VBD"}  # the dictionary has one role for both past forms
# Words the dictionary lacks or has in a form nobody says first.
_OVERRIDES = {
    "kouji": "K OW1 JH IY0", "won": "W AH1 N", "nice": "N AY1 S", "number": "N AH1 M B ER0",
    "does": "D AH1 Z", "github": "G IH1 T HH AH2 B", "pytorch": "P AY1 T AO2 R CH",
    "kubernetes": "K UW2 B ER0 N EH1 T IY0 Z", "chatgpt": "CH AE2 T JH IY2 P IY2 T IY1",
    "gpt": "JH IY2 P IY2 T IY1", "openai": "OW1 P AH0 N EY2 AY1", "tiktok": "T IH1 K T AA2 K",
    "wechat": "W IY1 CH AE2 T", "huawei": "W AA1 W EY2", "xiaomi": "SH AW1 M IY0",
    "shenzhen": "SH EH1 N JH EH2 N", "bitcoin": "B IH1 T K OY2 N", "alipay": "AE1 L IY0 P EY2",
    "deepseek": "D IY1 P S IY2 K", "qwen": "CH W EH1 N", "llama": "L AA1 M AH0",
    "linux": "L IH1 N AH0 K S", "nginx": "EH1 N JH IH0 N EH2 K S", "xi'an": "SH IY1 AA2 N",
    "beijing": "B EY2 JH IH1 NG", "wifi": "W AY1 F AY2", "ubuntu": "UH0 B UH1 N T UW0",
    "nvidia": "EH0 N V IH1 D IY0 AH0", "aaa": "T R IH2 P AH0 L EY1",
}  # fmt: skip
# Heteronyms whose readings the dictionary does not tell apart.
_BY_CLASS = {
    "tear": {"NN": "T IH1 R", "VB": "T EH1 R"},
    "tears": {"NN": "T IH1 R Z", "VB": "T EH1 R Z"},
    "bow": {"NN": "B OW1", "VB": "B AW1"},
    "excuse": {"NN": "IH0 K S K Y UW1 S", "VB": "IH0 K S K Y UW1 Z"},
    "excuses": {"NN": "IH0 K S K Y UW1 S IH0 Z", "VB": "IH0 K S K Y UW1 Z IH0 Z"},
    "sow": {"NN": "S AW1", "VB": "S OW1"},
}


@lru_cache(maxsize=16384)
def word_to_phones(word: str, pos: str | None = None) -> tuple[Phone, ...]:
    """Phones of one word in any case.

    word:    letters and apostrophes; other signs and accents are ignored
    pos:     a Penn tag such as "VBD" to choose between heteronyms, None for the usual reading
    returns: empty only when the word holds no letter
    """
    plain = _plain_letters(word)
    if not plain.strip("'"):
        return ()
    known = _known(plain, pos) or _known(plain.strip("'"), pos)
    if known:
        return known
    if not any(letter in "aeiouy" for letter in plain):
        return spell(plain)
    derived = inflect(plain, _known)
    if derived:
        return derived
    guessed = letter_to_sound().pronounce(plain.strip("'"))
    if not any(map(is_vowel, guessed)):
        return spell(plain)
    return _ensure_stress(guessed)


@lru_cache(maxsize=16384)
def is_heteronym(word: str) -> bool:
    """True for a word whose sound depends on its part of speech."""
    plain = _plain_letters(word)
    if plain in _BY_CLASS or plain in RULES:
        return True
    roles = {entry.role for entry in english_lexicon().entries(plain)}
    return len(roles - {"", "DT", "letter"}) > 1


def sounds(arpabet: str) -> tuple[Phone, ...]:
    """Phones of a reading written in ARPAbet, such as "L EH1 D"."""
    return _arpabet(arpabet)


def spell(letters: str) -> tuple[Phone, ...]:
    """Phones of the names of the letters, `FBI` -> EH1 F B IY1 AY1; other signs are ignored."""
    names = (_LETTERS[letter] for letter in _plain_letters(letters) if letter in _LETTERS)
    return tuple(phone for name in names for phone in _arpabet(name))


def _known(word: str, pos: str | None = None) -> tuple[Phone, ...] | None:
    if word in _BY_CLASS:
        by_class = _BY_CLASS[word]
        return _arpabet(by_class.get((pos or "NN")[:2], by_class["NN"]))
    if word in _OVERRIDES:
        return _arpabet(_OVERRIDES[word])
    entries = english_lexicon().entries(word)
    return _read_entry(_choose(entries, pos)) if entries else None


def _choose(entries: tuple[Entry, ...], pos: str | None) -> Entry:
    """The entry whose role is the tag, else its word class (VBD -> VB), else the first."""
    if pos is not None:
        for wanted in (pos, _COUSINS.get(pos, pos), pos[:2]):
            for entry in entries:
                if entry.role == wanted:
                    return entry
    return entries[0]


def _read_entry(entry: Entry) -> tuple[Phone, ...]:
    return tuple(phone for sound in entry.ipa.split() for phone in read_ipa(sound) or ())


def _arpabet(tokens: str) -> tuple[Phone, ...]:
    return tuple(phone for token in tokens.split() if (phone := read_arpabet(token)) is not None)


def _ensure_stress(phones: tuple[Phone, ...]) -> tuple[Phone, ...]:
    """Stress the first vowel when the model stressed none, as every spoken word has one."""
    if any(phone.tone > STRESS_OFFSET for phone in phones):
        return phones
    first = next(index for index, phone in enumerate(phones) if is_vowel(phone))
    stressed = Phone(phones[first].symbol, STRESS_OFFSET + 1)
    return (*phones[:first], stressed, *phones[first + 1 :])


def _plain_letters(word: str) -> str:
    folded = unicodedata.normalize("NFKD", word.replace("’", "'").lower())
    return "".join(sign for sign in folded if "a" <= sign <= "z" or sign == "'")
