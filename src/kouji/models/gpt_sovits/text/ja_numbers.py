"""Accents of Japanese numbers as plain OpenJTalk gives them.

pyopenjtalk-plus joins and accents numerals in a way of its own; checkpoints were trained on the
plain rules: every digit behind a unit (十, 百, 千, 万, ...) begins an accent phrase, a digit with
its unit has a fixed accent, and a counter moves it as the dictionary says. Words are the library's
records and are changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Words = list[dict[str, Any]]

_DIGITS = frozenset("一二三四五六七八九")
_UNITS = frozenset("十百千万億兆")
_LONE_UNIT_ACCENT = {"十": 0, "百": 2, "千": 1, "万": 1}


def accent_numbers(
    words: Words, read: Callable[[str], Words], rules: Mapping[str, str] | None = None
) -> None:
    """Give numerals the plain accent phrases.

    words: records with string, pos, pos_group1 and 2, acc, mora_size and chain_flag
    read:  reads a text that stands alone, for the accent of a digit that begins a phrase anew
    rules: the dictionary's accent rules of words, such as C3, of which counters are looked up
    """
    for place, word in enumerate(words):
        if not _is_numeral(word):
            continue
        before = words[place - 1] if place else None
        following = words[place + 1] if place + 1 < len(words) else None
        sign = word["string"]
        if sign in _DIGITS:
            if before and _is_numeral(before) and before["string"] in _UNITS:
                _begin_phrase(words, place, read)
            if following and _is_unit(following) and not _has_counter(words, place + 2):
                word["acc"] = _accent_with_unit(words, place)
        elif sign in _UNITS and word["chain_flag"] != 1 and following and _is_numeral(following):
            word["acc"] = _LONE_UNIT_ACCENT.get(sign, word["acc"])
    for place, word in enumerate(words):
        if _is_numeral(word) and word["chain_flag"] != 1:
            _accent_with_counter(words, place, rules or {})


def _accent_with_counter(words: Words, start: int, rules: Mapping[str, str]) -> None:
    """The accent that a counter gives the phrase which begins at `start`.

    C1 keeps the counter's own, C2 puts it on the counter's first mora, C3 before it, C4 takes it
    away. Other rules, and counters with more than particles behind them, stay as they are.
    """
    moras, place = 0, start
    while place < len(words) and _is_numeral(words[place]):
        if place > start and words[place]["chain_flag"] != 1:
            return
        moras += words[place]["mora_size"]
        place += 1
    if place == len(words) or words[place]["chain_flag"] != 1:
        return
    behind = words[place + 1] if place + 1 < len(words) else None
    if behind and behind["chain_flag"] == 1 and behind["pos"] not in ("助詞", "助動詞"):
        return
    accents = {"C1": moras + words[place]["acc"], "C2": moras + 1, "C3": moras, "C4": 0}
    if words[place]["pos_group2"] == "助数詞":
        rule = rules.get(words[place]["string"], "")
        words[start]["acc"] = accents.get(rule, words[start]["acc"])


def _is_numeral(word: dict[str, Any]) -> bool:
    return bool(word["pos_group1"] == "数")


def _is_unit(word: dict[str, Any]) -> bool:
    return _is_numeral(word) and word["string"] in _UNITS and word["chain_flag"] == 1


def _has_counter(words: Words, place: int) -> bool:
    """True when the word there is no numeral and belongs to the phrase before it."""
    return place < len(words) and words[place]["chain_flag"] == 1 and not _is_numeral(words[place])


def _begin_phrase(words: Words, place: int, read: Callable[[str], Words]) -> None:
    """Part a digit from the unit before it, with the accent its phrase has alone."""
    if words[place]["chain_flag"] != 1:
        return
    end = place + 1
    while end < len(words) and words[end]["chain_flag"] == 1 and not _is_digit(words[end]):
        end += 1
    alone = read("".join(str(word["string"]) for word in words[place:end]))
    words[place]["chain_flag"] = 0
    words[place]["acc"] = alone[0]["acc"] if alone else words[place]["acc"]


def _is_digit(word: dict[str, Any]) -> bool:
    return _is_numeral(word) and word["string"] in _DIGITS


def _accent_with_unit(words: Words, place: int) -> int:
    """The accent of a digit and its unit: 三百 on the first mora, 六百 on the last."""
    digit, unit = words[place]["string"], words[place + 1]["string"]
    digit_moras, unit_moras = words[place]["mora_size"], words[place + 1]["mora_size"]
    if unit == "十":
        goes_on = place + 2 < len(words) and _is_digit(words[place + 2])
        return 0 if digit in "五六八" and goes_on else 1
    if unit == "百":
        return {"七": 2, "三": 1, "四": 1, "九": 1}.get(digit, int(digit_moras + unit_moras))
    if unit in "千万":
        return int(digit_moras) + 1
    on_second = "一六七八" if unit == "億" else "六七"
    return 2 if digit in on_second else 1
