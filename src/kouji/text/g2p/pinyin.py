"""Spelling of Mandarin syllables: pinyin with a tone number into phones.

Knows the spelling rules (zero initials, the vowel behind z and zh, u-umlaut, erhua) and
which syllables exist. It does not know characters, words or tone sandhi.
Scheme: finals are written as they sound, so `yang` is `iang`, `wo` is `uo`, `you` is `iou`.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from kouji.errors import TextError
from kouji.text.phones import Phone

# Which finals each initial takes, in the spelling of the inventory (`ii` and `iii` are the
# vowels of zi and zhi). Rare and dialectal syllables of dictionaries (fiao, rua, tei) are in.
_LEGAL = {
    "b": "a o ai ei ao an en ang eng i ie iao ian iang in ing u ong",
    "p": "a o ai ei ao ou an en ang eng i ie iao ian in ing u",
    "m": "a o e ai ei ao ou an en ang eng i ie iao iou ian in ing u",
    "f": "a o e ai ei ou an en ang eng iao ong u",
    "d": "a o e ai ei ao ou an en ang eng i ia ie iao iou ian in ing iang u uo uei uan uen ong",
    "t": "a o e ai ei ao ou an en ang eng i ie iao ian in ing u uo uei uan uen ong",
    "n": "a o e ai ei ao ou an en ang eng i ia ie iao iou ian in ing iang u uo uei uan uen ong "
    "v ve van vn",
    "l": "a o e ai ei ao ou an en ang eng i ia ie iao iou ian in ing iang u uo uei uan uen ong "
    "v ve van vn",
    "g": "a o e ai ei ao ou an en ang eng i u ua uo uai uei uan uen uang ong",
    "k": "a o e ai ei ao ou an en ang eng i u ua uo uai uei uan uen uang ong",
    "h": "a o e ai ei ao ou an en ang eng i u ua uo uai uei uan uen uang ong",
    "j": "i ia ie iao iou ian in ing iang iong v ve van vn",
    "q": "i ia ie iao iou ian in ing iang iong v ve van vn",
    "x": "i ia ie iao iou ian in ing iang iong v ve van vn",
    "zh": "a o e ai ei ao ou an en ang eng iii u ua uo uai uei uan uen uang ong",
    "ch": "a o e ai ei ao ou an en ang eng iii u ua uo uai uei uan uen uang ong",
    "sh": "a o e ai ei ao ou an en ang eng iii u ua uo uai uei uan uen uang ong",
    "r": "a e ao ou an en ang eng iii u ua uo uei uan uen ong",
    "z": "a o e ai ei ao ou an en ang eng ii u uo uei uan uen ong",
    "c": "a o e ai ei ao ou an en ang eng ii u uo uei uan uen ong",
    "s": "a o e ai ei ao ou an en ang eng ii u uo uei uan uen ong",
    "": "a o e ee ai ei ao ou an en ang eng er",
}
_LEGAL_SETS = {initial: frozenset(finals.split()) for initial, finals in _LEGAL.items()}

# Syllables written with y and w have no consonant: the letter is the glide of the final.
_ZERO_INITIAL: dict[str, tuple[str, ...]] = {
    "yi": ("i",), "ya": ("ia",), "ye": ("ie",), "yao": ("iao",), "you": ("iou",),
    "yan": ("ian",), "yin": ("in",), "yang": ("iang",), "ying": ("ing",), "yong": ("iong",),
    "yu": ("v",), "yv": ("v",), "yue": ("ve",), "yve": ("ve",), "yuan": ("van",),
    "yvan": ("van",), "yun": ("vn",), "yvn": ("vn",), "yo": ("i", "o"), "yai": ("i", "ai"),
    "wu": ("u",), "wa": ("ua",), "wo": ("uo",), "wai": ("uai",), "wei": ("uei",),
    "wan": ("uan",), "wen": ("uen",), "wang": ("uang",), "weng": ("ueng",), "wong": ("ueng",),
    # interjections; the inventory has no syllabic nasals with a place of their own
    "m": ("m",), "n": ("en",), "ng": ("eng",), "hm": ("h", "m"), "hn": ("h", "en"),
    "hng": ("h", "eng"), "ê": ("ee",), "eh": ("ee",), "r": ("rr",),
}  # fmt: skip
_CONTRACTED = {"iu": "iou", "ui": "uei", "un": "uen", "ue": "ve", "ün": "vn"}
_AFTER_PALATAL = {"u": "v", "ue": "ve", "uan": "van", "un": "vn"}
_TONE_MARKS = {"\u0304": 1, "\u0301": 2, "\u030c": 3, "\u0306": 3, "\u0300": 4}
_CONSONANTS = frozenset({"h", "m"})


def pinyin_to_phones(syllable: str) -> tuple[Phone, ...]:
    """Phones of one syllable written with a tone number, such as `zi4`, `lv3` or `wanr2`.

    syllable: pinyin, `v` or `ü` for u-umlaut, tone 1-5 (0 is read as 5), optional erhua `r`
    returns:  the initial without tone, the final with it and `rr` where there is erhua
    raises:   TextError for anything that is not a Mandarin syllable
    """
    body, tone = _cut_tone(syllable)
    sounds = spell_syllable(body)
    if sounds is None:
        raise TextError(
            "not a pinyin syllable",
            seen=syllable,
            allowed="a Mandarin syllable such as 'zhong1'",
            cure="check its spelling",
        )
    return with_tone(sounds, tone)


def with_tone(sounds: tuple[str, ...], tone: int) -> tuple[Phone, ...]:
    """Put the tone on every final of a syllable; initials carry none.

    A lone syllabic `m` carries its tone, having no vowel to leave it to.
    """
    return tuple(
        Phone(sound, 0 if index == 0 and len(sounds) > 1 and _is_initial(sound) else tone)
        for index, sound in enumerate(sounds)
    )


def strip_tone_mark(syllable: str) -> tuple[str, int | None]:
    """Letters and tone of pinyin written with a mark: `hǎo` -> ("hao", 3), `hao` -> ("hao", None).

    `ü` stays as `v` and the circumflex of `ê` stays.
    """
    tone: int | None = None
    letters: list[str] = []
    for sign in unicodedata.normalize("NFD", syllable.lower()):
        if sign in _TONE_MARKS:
            tone = _TONE_MARKS[sign]
        elif sign == "\u0308" and letters and letters[-1] == "u":
            letters[-1] = "v"
        else:
            letters.append(sign)
    return unicodedata.normalize("NFC", "".join(letters)), tone


@lru_cache(maxsize=4096)
def spell_syllable(body: str) -> tuple[str, ...] | None:
    """Sounds of a toneless syllable in lower case, or None when it does not exist.

    `zhuang` -> ("zh", "uang"), `yuan` -> ("van",), `huar` -> ("h", "ua", "rr").
    """
    body = body.replace("ü", "v").replace("u:", "v")
    if body in _ZERO_INITIAL:
        return _ZERO_INITIAL[body]
    initial = _initial_of(body)
    final = _sound_of_final(initial, body[len(initial) :])
    if final in _LEGAL_SETS[initial]:
        return (initial, final) if initial else (final,)
    if body.endswith("r") and len(body) > 1 and body != "er":  # erhua: the syllable, then the coda
        base = spell_syllable(body[:-1])
        return None if base is None else (*base, "rr")
    return None


def _initial_of(body: str) -> str:
    if body[:2] in ("zh", "ch", "sh"):
        return body[:2]
    return body[:1] if body[:1] in _LEGAL and body[:1] else ""


def _sound_of_final(initial: str, spelled: str) -> str:
    """The final as it sounds, from its spelling behind that initial."""
    if initial in ("j", "q", "x") and spelled in _AFTER_PALATAL:
        return _AFTER_PALATAL[spelled]
    if spelled == "i" and initial in ("z", "c", "s"):
        return "ii"
    if spelled == "i" and initial in ("zh", "ch", "sh", "r"):
        return "iii"
    return _CONTRACTED.get(spelled, spelled)


def _is_initial(sound: str) -> bool:
    return sound in _LEGAL


def _cut_tone(syllable: str) -> tuple[str, int]:
    body, digit = syllable[:-1], syllable[-1:]
    if not body or digit not in "012345" or not body.islower():
        raise TextError(
            "not a pinyin syllable with a tone number",
            seen=syllable,
            allowed="letters and a tone of 1 to 5, such as 'zi4'",
        )
    return body, int(digit) or 5
