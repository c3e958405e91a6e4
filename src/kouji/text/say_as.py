"""`say-as` of SSML: content rewritten so that the normaliser reads it as asked.

Knows the kinds of content and their formats; the reading itself is the normaliser's.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from kouji.types import Language

ALLOWED = (
    "characters, spell-out, digits, cardinal, number, ordinal, telephone, date, time, currency, "
    "unit, fraction or address, with content of that kind"
)
_EN_DIGITS = "zero one two three four five six seven eight nine".split()
_ZH_DIGITS = "零一二三四五六七八九"
_ZH_PHONE = "零幺二三四五六七八九"
_AS_WRITTEN = frozenset({"time", "currency", "unit", "fraction", "address", "measure"})


class Said(NamedTuple):
    """What to speak instead; `kind` is "letters" where single letters are to be named."""

    text: str
    kind: Literal["letters"] | None = None


def rewrite(
    interpret_as: str, content: str, layout: str | None, language: Language | None
) -> Said | None:
    """The text to normalise for a content of that kind, None when the two do not fit.

    layout: the `format` attribute, for dates an order such as "mdy"
    """
    kind = interpret_as.lower()
    is_zh = language == "zh" or (language is None and re.search(r"[\u4e00-\u9fff]", content))
    if kind in ("characters", "spell-out", "verbatim"):
        names = _ZH_DIGITS if is_zh else _EN_DIGITS
        spelled = [names[int(sign)] if sign in "0123456789" else sign for sign in content]
        return Said(" ".join(spelled), "letters") if content else None
    if kind in _AS_WRITTEN:
        return Said(content) if content else None
    if kind in ("digits", "telephone") and re.fullmatch(r"[\d\s+()./-]*\d[\d\s+()./-]*", content):
        return Said(_digits(content, bool(is_zh), phone=kind == "telephone"))
    if kind in ("cardinal", "number") and re.fullmatch(r"[+-]?[\d,]*\d(?:\.\d+)?", content):
        return Said(content.replace(",", ""))
    if kind == "ordinal" and re.fullmatch(r"\d{1,9}(?:st|nd|rd|th)?", content):
        number = re.sub(r"\D", "", content)
        return Said(f"第{number}" if is_zh else number + _ordinal_ending(int(number)))
    return _date(content, layout) if kind == "date" else None


def _digits(content: str, is_zh: bool, phone: bool) -> str:
    names = (_ZH_PHONE if phone else _ZH_DIGITS) if is_zh else _EN_DIGITS
    spoken = [names[int(sign)] if sign in "0123456789" else sign for sign in content]
    if phone:
        spoken = [", " if not sign.isalnum() and sign != "+" else sign for sign in spoken]
    return ("" if is_zh else " ").join(spoken)


def _ordinal_ending(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _date(content: str, layout: str | None) -> Said | None:
    """A date in the order of `layout` (ymd, mdy, dmy and parts of them) as the normaliser's own."""
    if layout is None:
        return Said(content) if re.search(r"\d", content) else None
    fields = re.findall(r"\d+", content)
    if not re.fullmatch(r"[ymd]{1,3}", layout) or len(fields) != len(layout):
        return None
    named = dict(zip(layout, fields, strict=True))
    if set("ymd") == named.keys():
        return Said(f"{named['y']}-{int(named['m']):02d}-{int(named['d']):02d}")
    return Said(content)
