"""Sounds given by the caller as the tokens CosyVoice 3 has for them: pinyin and CMU phonemes.

A syllable is its initial and its final with the tone on it, spelled as in pinyin (y and w count
as initials); an English sound is one token. Not every final has every tone; what has no token
is said by a character that sounds alike.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from kouji.text.g2p.pinyin import spell_syllable
from kouji.text.g2p.readings import parse_marked, phrase_readings, read_character
from kouji.text.phones import INITIALS, STRESS_OFFSET, Phone

ERHUA, _ER = "rr", "儿"
_NEUTRAL = 5
_COMMON_ROWS = (0xB0, 0xD8)  # of GB 2312: its 3755 characters of everyday use
_TONE_SIGNS = {1: "\u0304", 2: "\u0301", 3: "\u030c", 4: "\u0300"}
_AFTER_INITIAL = {
    "ii": "i", "iii": "i", "iou": "iu", "uei": "ui", "uen": "un", "v": "ü", "van": "üan",
    "vn": "ün",
}  # fmt: skip
_AFTER_PALATAL = {**_AFTER_INITIAL, "v": "u", "ve": "ue", "van": "uan", "vn": "un"}
_WITHOUT_INITIAL = {
    "i": "yi", "ia": "ya", "ie": "ye", "iao": "yao", "iou": "you", "ian": "yan", "in": "yin",
    "iang": "yang", "ing": "ying", "iong": "yong", "v": "yu", "ve": "yue", "van": "yuan",
    "vn": "yun", "u": "wu", "ua": "wa", "uo": "wo", "uai": "wai", "uei": "wei", "uan": "wan",
    "uen": "wen", "uang": "wang", "ueng": "weng",
}  # fmt: skip


class Atom(NamedTuple):
    """One special token, or characters to be read as they are."""

    text: str
    is_token: bool = True


class Reading(NamedTuple):
    """How a syllable is written for the model; `loss` says what is not as it was asked."""

    atoms: tuple[Atom, ...]
    loss: str | None = None


def english_tokens(phones: Sequence[Phone]) -> tuple[str, ...]:
    """The CMU tokens of a word."""
    return tuple(
        f"[{phone.symbol}{phone.tone - STRESS_OFFSET if phone.tone else ''}]" for phone in phones
    )


def read_syllable(
    phones: Sequence[Phone], known: Collection[str], character: str | None = None
) -> Reading | None:
    """A Mandarin syllable as tokens; None where nothing sounds like it.

    known:     the special tokens of the model
    character: the hanzi the sound was given for, said where there are no tokens
    """
    spelled = _spell(phones)
    coda = (Atom(_ER, False),) if any(phone.symbol == ERHUA for phone in phones) else ()
    if spelled is None:
        return Reading(coda) if coda else _by_character(None, character, "")
    initial, final, tone = spelled
    shown = f"{initial}{with_mark(final, tone)}"
    atoms = _tokens(initial, with_mark(final, tone), known)
    if atoms:
        return Reading((*atoms, *coda))
    if character is None and tone == _NEUTRAL:  # many finals have no token without a tone
        atoms = _tokens(initial, with_mark(final, 4), known)
        if atoms:
            return Reading((*atoms, *coda), f"[{shown}] has no neutral tone and gets the fourth")
    found = _by_character(f"{initial}{final}{tone}", character, shown)
    return Reading((*found.atoms, *coda), found.loss) if found else None


def with_mark(final: str, tone: int) -> str:
    """A final as spelled with its tone on it: ("uai", 3) -> "uǎi"; the neutral tone has none."""
    if tone not in _TONE_SIGNS:
        return final
    place = next((final.index(v) for v in ("a", "e", "ê") if v in final), None)
    if place is None:  # o before u; of i and u the last; a nasal that is a syllable by itself
        place = final.index("o") if "ou" in final else max(map(final.rfind, "oiuü"))
    place = max(place, 0)
    marked = final[: place + 1] + _TONE_SIGNS[tone] + final[place + 1 :]
    return unicodedata.normalize("NFC", marked)


def _spell(phones: Sequence[Phone]) -> tuple[str, str, int] | None:
    """Initial and final as pinyin spells them, and the tone; None for erhua alone."""
    sounds = [phone for phone in phones if phone.symbol != ERHUA]
    if not sounds:
        return None
    has_initial = len(sounds) > 1 and not sounds[0].tone and sounds[0].symbol in INITIALS
    initial = sounds[0].symbol if has_initial else ""
    finals = [phone.symbol for phone in sounds[has_initial:]]
    tone = sounds[-1].tone or _NEUTRAL
    if initial:
        table = _AFTER_PALATAL if initial in ("j", "q", "x") else _AFTER_INITIAL
        return initial, table.get(finals[0], finals[0]), tone
    if len(finals) > 1:  # yo and yai
        return "y", finals[-1], tone
    written = _WITHOUT_INITIAL.get(finals[0])
    if written:
        return written[0], written[1:], tone
    return "", "ê" if finals[0] == "ee" else finals[0], tone


def _tokens(initial: str, final: str, known: Collection[str]) -> tuple[Atom, ...]:
    """The tokens of a syllable, none where one of them is missing."""
    names = [f"[{part}]" for part in (initial, final) if part]
    return tuple(map(Atom, names)) if all(name in known for name in names) else ()


def _by_character(syllable: str | None, character: str | None, shown: str) -> Reading | None:
    """The given character, or one that is read so."""
    said = character or (homophone(syllable) if syllable else None)
    if said is None:
        return None
    what = "the sound of a mark" if not shown else f"[{shown}]"
    return Reading((Atom(said, False),), f"{what} has no token here and is written {said}")


_Sound = tuple[tuple[str, ...], int]


@lru_cache(maxsize=2048)
def homophone(syllable: str) -> str | None:
    """A usual character that is read so, best one that is read only so; None without one.

    syllable: pinyin with a tone number, `ü` or `v`; in place of the neutral tone another may do
    """
    sounds, tone = spell_syllable(syllable[:-1]), int(syllable[-1])
    tones = (_NEUTRAL, 4, 1, 2, 3) if tone == _NEUTRAL else (tone,)
    found = (_homophones().get((sounds, each)) for each in tones if sounds)
    return next((character for character in found if character), None)


@lru_cache(maxsize=1)
def _homophones() -> dict[_Sound, str]:
    """By sound, the character with the most phrases among those nearly always read so."""
    best: dict[_Sound, tuple[bool, int, str]] = {}
    for character, heard in _counted_readings().items():
        total = sum(heard.values())
        for sound, count in heard.items():
            if 2 * count > total:  # its usual reading
                offered = (20 * count >= 19 * total, count, character)
                best[sound] = max(best.get(sound, offered), offered)
    return {sound: character for sound, (_, _, character) in best.items()}


def _counted_readings() -> dict[str, Counter[_Sound]]:
    """In how many phrases each character is read how; common characters once by themselves."""
    counts: dict[str, Counter[_Sound]] = {}
    for row in range(*_COMMON_ROWS):
        for character in bytes(_cells(row)).decode("gb2312", "ignore"):
            read = read_character(character)
            sounds = spell_syllable(read[0]) if read else None
            if read and sounds:
                counts.setdefault(character, Counter())[sounds, read[1]] += 1
    for word, readings in phrase_readings().items():
        for character, candidates in zip(word, readings, strict=False):
            body, tone = parse_marked(candidates[0]) if candidates else ("", _NEUTRAL)
            sounds = spell_syllable(body) if body else None
            if sounds:
                counts.setdefault(character, Counter())[sounds, tone] += 1
    return counts


def _cells(row: int) -> Iterator[int]:
    """The bytes of all characters of one row of GB 2312."""
    for cell in range(0xA1, 0xFF):
        yield from (row, cell)
