"""Tones of a Chinese word as they are spoken: 不, 一, neutral tones, third tones.

Works on one word at a time, in the order of the official front end (PaddleSpeech's rules), on
finals with their tone at the end. Words must have been joined by `zh_words.merge_words`.
"""

from __future__ import annotations

from collections.abc import Sequence

from kouji.models.gpt_sovits.text.zh_neutral import ends_neutral, keeps_repeated_tone
from kouji.models.gpt_sovits.text.zh_words import Word, cut_parts

_MARKS = frozenset("：，；。？！“”‘’':,;.?!")
_FINAL_PARTICLES = frozenset("吧呢哈啊呐噻嘛吖嗨哦哒额滴哩哟喽啰耶喔诶")
_STRUCTURAL = frozenset("的地得")
_COUNTING = frozenset("几有两半多各整每做是")
_DIRECTIONS = frozenset("上下进出回过起开")


def spoken_finals(word: Word, finals: Sequence[str]) -> list[str]:
    """The finals of a word after sandhi.

    finals: one per character of the word, with tone 1-5 at its end
    """
    spoken = list(finals)
    if len(spoken) != len(word.text):  # a sign pypinyin reads as several, or not at all
        return spoken
    _tone_of_bu(word.text, spoken)
    _tone_of_yi(word.text, spoken)
    _neutral_tones(word, spoken)
    _third_tones(word.text, spoken)
    return spoken


def _set_tone(finals: list[str], index: int, tone: int) -> None:
    finals[index] = f"{finals[index][:-1]}{tone}"


def _is_third(finals: Sequence[str]) -> bool:
    return all(final.endswith("3") for final in finals)


def _tone_of_bu(text: str, finals: list[str]) -> None:
    if len(text) == 3 and text[1] == "不":  # 看不懂
        _set_tone(finals, 1, 5)
        return
    for index, sign in enumerate(text[:-1]):
        if sign == "不" and finals[index + 1].endswith("4"):
            _set_tone(finals, index, 2)


def _tone_of_yi(text: str, finals: list[str]) -> None:
    if "一" not in text or all(sign.isnumeric() for sign in text):
        return
    if len(text) == 3 and text[1] == "一" and text[0] == text[2]:  # 看一看
        _set_tone(finals, 1, 5)
    elif text.startswith("第一"):
        _set_tone(finals, 1, 1)
    else:
        for index, sign in enumerate(text[:-1]):
            if sign == "一" and finals[index + 1].endswith("4"):
                _set_tone(finals, index, 2)
            elif sign == "一" and text[index + 1] not in _MARKS:
                _set_tone(finals, index, 4)


def _neutral_tones(word: Word, finals: list[str]) -> None:
    text, tag = word
    for index in range(1, len(text)):
        is_repeated = text[index] == text[index - 1] and tag[:1] in ("n", "v", "a")
        if is_repeated and not keeps_repeated_tone(text):
            _set_tone(finals, index, 5)
    place = _neutral_place(text, tag)
    if place is not None:
        _set_tone(finals, place, 5)
    head, tail = split_in_two(text)
    if ends_neutral(head):
        _set_tone(finals, len(head) - 1, 5)
    if ends_neutral(tail):
        _set_tone(finals, len(text) - 1, 5)


def _neutral_place(text: str, tag: str) -> int | None:
    """The one unstressed syllable of a word, by the first rule that knows it."""
    last, before_last = text[-1], text[-2:-1]
    counter = text.find("个")
    is_counter = text == "个" or (
        counter > 0 and (text[counter - 1].isnumeric() or text[counter - 1] in _COUNTING)
    )
    is_last = (
        last in _FINAL_PARTICLES
        or last in _STRUCTURAL
        or (text in ("了", "着", "过") and tag in ("ul", "uz", "ug"))
        or (before_last and last in "们子" and tag in ("r", "n") and not keeps_repeated_tone(text))
        or (before_last and last in "上下里" and tag in ("s", "l", "f"))
        or (last in "来去" and before_last in _DIRECTIONS)
    )
    if is_last:
        return len(text) - 1
    if is_counter:
        return counter
    return len(text) - 1 if ends_neutral(text) else None


def split_in_two(text: str) -> tuple[str, str]:
    """A word cut at its shortest part, which is its head or its tail; the tail may be empty."""
    part = min(cut_parts(text), key=len)
    if text.startswith(part):
        return part, text[len(part) :]
    return text[: -len(part)], part


def _third_tones(text: str, finals: list[str]) -> None:
    if len(text) == 2 and _is_third(finals):
        _set_tone(finals, 0, 2)
    elif len(text) == 3:
        _third_tones_of_three(finals, len(split_in_two(text)[0]))
    elif len(text) == 4:
        for start in (0, 2):
            if _is_third(finals[start : start + 2]):
                _set_tone(finals, start, 2)


def _third_tones_of_three(finals: list[str], head: int) -> None:
    """head: characters before the border inside the word."""
    if _is_third(finals):
        if head == 2:  # 蒙古 包
            _set_tone(finals, 0, 2)
        if head in (1, 2):  # 纸 老虎
            _set_tone(finals, 1, 2)
        return
    for start, end in ((0, head), (head, 3)):
        part = finals[start:end]
        if len(part) == 2 and _is_third(part):
            _set_tone(finals, start, 2)
        elif start and part and not _is_third(part) and _is_third((part[0], finals[start - 1])):
            _set_tone(finals, start - 1, 2)
