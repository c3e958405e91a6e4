"""Names of single symbols and of common emoji, in Chinese and in English.

Symbols without a name here are dropped and reported; quotes and joiners are silent.
"""

from __future__ import annotations

import re

from kouji.text.language import HANZI
from kouji.text.normalise import chinese, english, maths, units
from kouji.text.normalise.emoji import FLAGS, NAMES
from kouji.text.normalise.reading import Reader, View, reader

_SYMBOLS = {
    **{sign: names for sign, names in maths.SIGNS.items() if sign not in "-*·/−→"},
    "@": ("艾特", "at"), "%": ("百分号", "percent"), "‰": ("千分号", "per mille"),
    "#": ("井号", "hash"), "&": ("和", "and"), "$": ("美元", "dollars"), "€": ("欧元", "euros"),
    "£": ("英镑", "pounds"), "¥": ("元", "yuan"), "¢": ("美分", "cents"), "−": ("减", "minus"),
    "°": ("度", "degrees"), "℃": ("摄氏度", "degrees celsius"), "√": ("根号", "square root"),
    "℉": ("华氏度", "degrees fahrenheit"), "№": ("第", "number"), "©": ("版权所有", "copyright"),
    "§": ("第", "section"), "→": ("到", "to"), "⇒": ("推出", "implies"),
    "∑": ("求和", "the sum of"),
    "∫": ("积分", "the integral of"), "∂": ("偏", "partial"), "∴": ("所以", "therefore"),
    "∵": ("因为", "because"), "∠": ("角", "angle"), "⊥": ("垂直于", "is perpendicular to"),
    "∥": ("平行于", "is parallel to"), "△": ("三角形", "triangle"), "∪": ("并", "union"),
    "∩": ("交", "intersection"), "⊂": ("包含于", "is a subset of"),
    "∝": ("正比于", "is proportional to"),
    "<": ("小于", "less than"), ">": ("大于", "greater than"),
    "℗": ("版权所有", "copyright"), "∅": ("空集", "the empty set"), "∀": ("任意", "for all"),
    "∃": ("存在", "there exists"), "≪": ("远小于", "is much less than"),
    "∓": ("负正", "minus or plus"),
    "≫": ("远大于", "is much greater than"), "≅": ("全等于", "is congruent to"), "″": ("", ""),
}  # fmt: skip


_PERIODS = r"(?:day|week|month|year|hour|night|person|minute|second|min|sec)s?\b"


def _symbol(match: re.Match[str], view: View) -> str | None:
    names = _SYMBOLS.get(match.group())
    if names is None:
        return None
    return names[0] if view.language(match) == "zh" else names[1]


def _emoji(match: re.Match[str], view: View) -> str | None:
    names = NAMES.get(match.group())
    if names is None:
        return None
    return names[0] if view.language(match) == "zh" else names[1]


def _circled(match: re.Match[str], view: View) -> str | None:
    """① to ⑳ and their like, as numbers; Ⓐ as its letter."""
    from unicodedata import normalize

    plain = "".join(char for char in normalize("NFKC", match.group()) if char.isalnum())
    if not plain.isascii() or not plain:
        return None
    if plain.isdecimal():
        return chinese.cardinal(plain) if view.language(match) == "zh" else english.cardinal(plain)
    return plain.upper()


def _greek(match: re.Match[str], view: View) -> str | None:
    names = maths.GREEK.get(match.group())
    return None if names is None else names[0 if view.language(match) == "zh" else 1]


def _per(match: re.Match[str], view: View) -> str | None:
    """5元/斤, $5/hour, 3 times/week: a slash after a counted thing."""
    before, after = view.before(match, 14), view.after(match, 6)
    if re.search(r"\d$", before) and re.match(
        rf"{_PERIODS}|[月年天周次人晚斤](?![{HANZI}])", after
    ):
        return "每" if view.language(match) == "zh" else "per"
    if re.search(rf"\d\s?[万亿千百]?[{HANZI}a-zA-Z²³]{{1,4}}$", before) and re.match(
        rf"[{HANZI}]", after
    ):
        return "每"
    counted = re.search(r"(?:[$€£¥]\s?[\d.,]+[kKmM]?|\d\s?[A-Za-z]{2,8})$", before)
    if counted and re.match("[A-Za-z]", after):
        return "每" if view.language(match) == "zh" else "per"
    return None


def _per_unit(match: re.Match[str], view: View) -> str | None:
    """8.2元/L, 3.5万/㎡."""
    if not re.search(
        rf"\d\s?[{HANZI}]{{1,2}}$|[¥$€£][\d.,]+$|\^\d+$|[⁰¹²³⁴⁵⁶⁷⁸⁹]$", view.before(match, 14)
    ):
        return None
    if view.language(match) == "zh":
        return "每" + units.chinese_unit(match["unit"])
    return "per " + units.english_unit(match["unit"], singular=True)


def _arrow(match: re.Match[str], view: View) -> str:
    return "到" if view.language(match) == "zh" else "to"


def _plus_after(match: re.Match[str], view: View) -> str:
    """100+, 10万+."""
    return "加" if view.language(match) == "zh" else "plus"


def _dash(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return ","


def _unread(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return ""


def _dot(match: re.Match[str], view: View) -> str:
    return "点" if view.language(match) == "zh" else "dot"


def _emoticon(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return ""


def _angle_pair(match: re.Match[str], view: View) -> str | None:
    """The signs around <name>, which bracket and do not compare."""
    if match.group() == "<":
        closed = re.match(r"/?[^<>\n\d=]{1,60}>", view.text[match.end() : match.end() + 62])
        return "," if closed else None
    opened = re.search(r"<[^<>\n\d=]{1,60}$", view.before(match, 61))
    return "," if opened else None


def _flag(match: re.Match[str], view: View) -> str | None:
    letters = "".join(chr(ord(sign) - 0x1F1E6 + ord("A")) for sign in match.group())
    names = FLAGS.get(letters)
    return None if names is None else names[0 if view.language(match) == "zh" else 1]


READERS: tuple[Reader, ...] = (
    reader("emoticon", r"(?<![\w:])[:;=][-^']?[)(DPOo3|]+(?![\w:])", _emoticon),
    reader("angle pair", "[<>]", _angle_pair),
    reader("flag", "[\U0001f1e6-\U0001f1ff]{2}", _flag),
    reader("per unit", rf"/(?P<unit>{units.SIGN})(?![A-Za-z\d²³])", _per_unit),
    reader("per", r"/(?=\S)", _per),
    reader(
        "dash", r"(?<=\w)--+(?!>)|--+(?=\s)|(?<=[ {H}])[-–—](?=[ {H}])|(?<=[{H}])/(?=[{H}])", _dash
    ),
    reader("dot", r"(?<!\S)\.(?=[A-Za-z]{2})", _dot),
    reader("quote mark", r"(?<![^\n])>", _unread),
    reader("arrow", "(?:-+>|=+>|→|➜|➔)(?=.)", _arrow),
    reader("plus after", r"(?<=[\d万亿千百])\+(?!\S*\d)", _plus_after),
    reader("circled", "[\u2460-\u24ff]", _circled),
    reader("Greek", "[Α-Ωα-ω](?![Α-ώ])", _greek),
    reader("symbol", r"\S", _symbol),
    reader("emoji", r"\S", _emoji),
)
