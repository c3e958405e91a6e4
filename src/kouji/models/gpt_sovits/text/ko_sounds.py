"""How Korean syllables change each other: the standard pronunciation rules at every boundary.

Works on syllables taken apart into onset, vowel and coda. As in the official front end, rules
reach over one blank, except linking, and a mark or the end closes a coda to one of seven sounds.
Knows no words and no grammar; those mark places beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

ONSETS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
CODAS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
_FIRST = ord("가")

TENSE = dict(zip("ㄱㄷㅂㅅㅈ", "ㄲㄸㅃㅆㅉ", strict=True))
_NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}
_CLOSED = {
    **dict.fromkeys("ㄱㄲㅋㄳㄺ", "ㄱ"), **dict.fromkeys("ㄷㅅㅆㅈㅊㅌㅎ", "ㄷ"),
    **dict.fromkeys("ㅂㅍㅄㄿ", "ㅂ"), **dict.fromkeys("ㄴㄵㄶ", "ㄴ"),
    **dict.fromkeys("ㄹㄼㄽㄾㅀ", "ㄹ"), **dict.fromkeys("ㅁㄻ", "ㅁ"), "ㅇ": "ㅇ",
}  # fmt: skip
# A coda before ㅎ: what stays, and what the ㅎ becomes.
_BEFORE_H = {
    **dict.fromkeys("ㄱㄲㄳㅋ", ("", "ㅋ")), "ㄺ": ("ㄹ", "ㅋ"),
    **dict.fromkeys("ㄷㅅㅆㅊㅌ", ("", "ㅌ")), "ㅈ": ("", "ㅊ"),
    "ㄵ": ("ㄴ", "ㅊ"), **dict.fromkeys("ㅂㅍ", ("", "ㅍ")), "ㄼ": ("ㄹ", "ㅍ"),
    **dict.fromkeys("ㄿㅄ", ("ㅂ", "ㅍ")), "ㅎ": ("", "ㅎ"),
}  # fmt: skip
_AFTER_H = {"ㄱ": "ㅋ", "ㄷ": "ㅌ", "ㅈ": "ㅊ", "ㅅ": "ㅆ"}
_WITH_H = {"ㅎ": "", "ㄶ": "ㄴ", "ㅀ": "ㄹ"}
# A coda before a vowel: what stays, and what moves over.
_LINKED = {
    "ㄳ": ("ㄱ", "ㅆ"), "ㄵ": ("ㄴ", "ㅈ"), "ㄺ": ("ㄹ", "ㄱ"), "ㄻ": ("ㄹ", "ㅁ"),
    "ㄼ": ("ㄹ", "ㅂ"), "ㄽ": ("ㄹ", "ㅆ"), "ㄾ": ("ㄹ", "ㅌ"), "ㄿ": ("ㄹ", "ㅍ"),
    "ㅄ": ("ㅂ", "ㅆ"), "ㅎ": ("", "ㅇ"), "ㄶ": ("", "ㄴ"), "ㅀ": ("", "ㄹ"), "ㅇ": ("ㅇ", "ㅇ"),
}  # fmt: skip
_PALATAL = {"ㄷ": ("", "ㅈ"), "ㅌ": ("", "ㅊ"), "ㄾ": ("ㄹ", "ㅊ")}
_SPLIT_VOWELS = {
    "ㅘ": "ㅗㅏ", "ㅙ": "ㅗㅐ", "ㅚ": "ㅗㅣ", "ㅝ": "ㅜㅓ", "ㅞ": "ㅜㅔ", "ㅟ": "ㅜㅣ",
    "ㅢ": "ㅡㅣ",
    "ㅑ": "ㅣㅏ", "ㅒ": "ㅣㅐ", "ㅕ": "ㅣㅓ", "ㅖ": "ㅣㅔ", "ㅛ": "ㅣㅗ", "ㅠ": "ㅣㅜ",
}  # fmt: skip


@dataclass
class Syllable:
    """One hangul syllable in compatibility jamo; an empty coda is an open syllable."""

    onset: str
    vowel: str
    coda: str

    def tense(self) -> None:
        """Make a plain onset tense: ㄱ -> ㄲ."""
        self.onset = TENSE.get(self.onset, self.onset)

    def jamo(self) -> str:
        """The jamo of the symbol table, compound vowels as their two parts."""
        return self.onset + _SPLIT_VOWELS.get(self.vowel, self.vowel) + self.coda


Unit = Syllable | str  # a syllable, or any other character


def take_apart(text: str) -> list[Unit]:
    """One unit a character."""
    return [decompose(sign) if "가" <= sign <= "힣" else sign for sign in text]


def apply_rules(units: list[Unit]) -> None:
    """Change the syllables, in place, into those that are heard."""
    for unit in units:
        if isinstance(unit, Syllable):
            _simplify_vowel(unit)
    for place, unit in enumerate(units):
        if not isinstance(unit, Syllable) or not unit.coda:
            continue
        following, is_near = _next_syllable(units, place)
        if following is None or (following.onset == "ㅇ" and not is_near):
            unit.coda = _CLOSED[unit.coda]
        elif following.onset == "ㅇ":
            _link(unit, following)
        else:
            _meet(unit, following, is_near)


def decompose(sign: str) -> Syllable:
    """The three jamo of a hangul syllable sign."""
    number, coda = divmod(ord(sign) - _FIRST, len(CODAS))
    onset, vowel = divmod(number, len(VOWELS))
    return Syllable(ONSETS[onset], VOWELS[vowel], CODAS[coda])


def _next_syllable(units: list[Unit], place: int) -> tuple[Syllable | None, bool]:
    """The syllable behind a place, and whether no blank is between."""
    following = units[place + 1 : place + 3]
    if following and isinstance(following[0], Syllable):
        return following[0], True
    if len(following) == 2 and following[0] == " " and isinstance(following[1], Syllable):
        return following[1], False
    return None, False


def _simplify_vowel(unit: Syllable) -> None:
    """져 is 저, and ㅢ behind a consonant is ㅣ."""
    if unit.onset in "ㅈㅉㅊ" and unit.vowel == "ㅕ":
        unit.vowel = "ㅓ"
    if unit.onset != "ㅇ" and unit.vowel == "ㅢ":
        unit.vowel = "ㅣ"


def _link(unit: Syllable, following: Syllable) -> None:
    """The coda moves over to the vowel; ㄷ and ㅌ soften before ㅣ and ㅕ."""
    if unit.coda in _PALATAL and following.vowel in "ㅣㅕ":
        unit.coda, following.onset = _PALATAL[unit.coda]
        _simplify_vowel(following)
        return
    unit.coda, following.onset = _LINKED.get(unit.coda, ("", unit.coda))


def _meet(unit: Syllable, following: Syllable, is_near: bool) -> None:
    """A coda meets a consonant: aspiration, closing, tensing, nasals and liquids."""
    coda, onset = unit.coda, following.onset
    if coda == "ㄷ" and onset == "ㅎ" and following.vowel == "ㅣ" and is_near:
        unit.coda, following.onset = "", "ㅊ"
    elif onset == "ㅎ":
        unit.coda, following.onset = _BEFORE_H.get(coda, (_CLOSED[coda], "ㅎ"))
    elif coda in _WITH_H and onset != "ㄴ":
        unit.coda, following.onset = _WITH_H[coda], _AFTER_H.get(onset, onset)
        _liquids(unit, following)
    elif coda == "ㅎ":
        unit.coda = "ㄴ"
    elif coda == "ㄼ" and onset in "ㄴㅁ":
        unit.coda = "ㅁ"
    else:
        unit.coda = _CLOSED[coda]
        if unit.coda in _NASAL or coda in "ㄼㄽ":
            following.tense()
        _nasals(unit, following)
        _liquids(unit, following)


def _nasals(unit: Syllable, following: Syllable) -> None:
    """A stop before ㄴ, ㅁ, ㄹ becomes a nasal, and ㄹ behind any consonant but ㄴ, ㄹ is ㄴ."""
    if unit.coda in _NASAL and following.onset in "ㄴㅁㄹ":
        unit.coda = _NASAL[unit.coda]
        following.onset = "ㄴ" if following.onset == "ㄹ" else following.onset
    elif unit.coda in ("ㅁ", "ㅇ") and following.onset == "ㄹ":
        following.onset = "ㄴ"


def _liquids(unit: Syllable, following: Syllable) -> None:
    """ㄴ beside ㄹ is ㄹ."""
    if (unit.coda, following.onset) in (("ㄴ", "ㄹ"), ("ㄹ", "ㄴ")):
        unit.coda = following.onset = "ㄹ"
