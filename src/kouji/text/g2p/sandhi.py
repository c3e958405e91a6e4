"""Tone sandhi of Mandarin within a stretch without pause: 一, 不, third tones, neutral tones.

Works on words of syllables, the unit within which third tones pair first. Syllables the caller
fixed by a mark are never changed, but change their neighbours. Rules after Y. R. Chao,
"A Grammar of Spoken Chinese" (1968), and Duanmu, "The Phonology of Standard Chinese" (2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kouji.text.g2p.segment import look_up

_DIGITS = frozenset("零〇一二三四五六七八九幺两")
_ORDINAL_BEFORE = frozenset("第十初周期拜零〇百千点之唯统万其单逐专")
_LABELLED_AFTER = frozenset("月号楼班等级线流")
_UNITS = frozenset("十百千万亿")


@dataclass(frozen=True)
class Syllable:
    """One character as it is to be said: toneless pinyin, tone 1-5, whether it is final."""

    character: str
    pinyin: str
    tone: int
    is_fixed: bool = False


Word = list[Syllable]


def apply_sandhi(words: Sequence[Word]) -> list[Word]:
    """The words of one stretch with the tones they have in fluent speech."""
    flat = [syllable for word in words for syllable in word]
    flat = _neutral_repetition(flat)
    flat = [_tone_of_yi(flat, index) for index in range(len(flat))]
    flat = [_tone_of_bu(flat, index) for index in range(len(flat))]
    return _third_tones(_regroup(flat, words))


def _regroup(flat: list[Syllable], words: Sequence[Word]) -> list[Word]:
    grouped, start = [], 0
    for word in words:
        grouped.append(flat[start : start + len(word)])
        start += len(word)
    return grouped


def _neutral_repetition(flat: list[Syllable]) -> list[Syllable]:
    """The 一 and 不 of 看一看 and 好不好 are unstressed."""
    result = list(flat)
    for index in range(1, len(flat) - 1):
        middle = flat[index]
        between_same = flat[index - 1].character == flat[index + 1].character
        is_repetition = between_same and flat[index - 1].character not in _DIGITS
        if middle.character in "一不" and is_repetition and not middle.is_fixed:
            result[index] = replace(middle, tone=5)
    return result


def _tone_of_yi(flat: list[Syllable], index: int) -> Syllable:
    """一 keeps tone 1 as a number or at the end, is 2 before tone 4 and 4 before the others."""
    syllable = flat[index]
    if syllable.character != "一" or syllable.tone != 1 or syllable.is_fixed:
        return syllable
    before = flat[index - 1].character if index else ""
    if index + 1 == len(flat) or (before and before in _ORDINAL_BEFORE):
        return syllable
    after = flat[index + 1]
    if before == "月" and after.character == "日":
        return syllable
    if before in _DIGITS or after.character in _DIGITS or after.character in _LABELLED_AFTER:
        return syllable
    if after.character == "十" or (before in _UNITS and after.character in _UNITS):
        return syllable
    # 个 counts as tone 4 even where it is unstressed
    is_fourth = after.tone == 4 or after.character == "个"
    return replace(syllable, tone=2 if is_fourth else 4)


def _tone_of_bu(flat: list[Syllable], index: int) -> Syllable:
    syllable = flat[index]
    if syllable.character != "不" or syllable.tone != 4 or syllable.is_fixed:
        return syllable
    is_fourth = index + 1 < len(flat) and flat[index + 1].tone == 4
    return replace(syllable, tone=2) if is_fourth else syllable


def _third_tones(words: list[Word]) -> list[Word]:
    """A third tone before a third tone rises: inside words first, then across their borders.

    A word of one syllable leans on the next; a longer one keeps its third tone (电影有) unless
    a single syllable ends the stretch (可以走).
    """
    inner = [_third_in_word(word) for word in words]
    for index in range(len(inner) - 1):
        word, following = inner[index], inner[index + 1]
        if not word or not following:
            continue
        last, first = word[-1], following[0]
        is_last = index + 2 == len(inner) or inner[index + 2][0].tone == 5
        is_near = len(word) == 1 or (len(following) == 1 and is_last)
        if last.tone == 3 and first.tone == 3 and is_near and not last.is_fixed:
            word[-1] = replace(last, tone=2)
    return inner


def _has_short_head(characters: list[str]) -> bool:
    """True for 纸老虎 (1 + 2 syllables), False for 展览馆 (2 + 1), by which pair is a word."""
    head, tail = look_up("".join(characters[:2])), look_up("".join(characters[1:]))
    return (tail.frequency if tail else 0.0) > (head.frequency if head else 0.0)


def _third_in_word(word: Word) -> Word:
    """Pairs from the left; in 小老虎 the last two syllables form the pair.

    A word of three with a one-syllable head is cut 1+2, so its first syllable stays low.
    """
    result = list(word)
    tones = [syllable.tone for syllable in word]
    if tones == [3, 3, 3] and _has_short_head([syllable.character for syllable in word]):
        order = [1]
    else:
        order = list(range(len(word) - 1))
    for index in order:
        if tones[index] == 3 and tones[index + 1] == 3 and not word[index].is_fixed:
            result[index] = replace(result[index], tone=2)
    return result
