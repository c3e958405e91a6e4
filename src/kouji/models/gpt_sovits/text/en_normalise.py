"""English text to plain words, exactly as GPT-SoVITS models were trained to hear it.

Not a general normaliser (`kouji.text.normalise` is one): official checkpoints learned from the
output of a fixed chain of replacements, faults included, so the chain is kept link by link.
Lines marked [Q] look wrong and are meant so.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache, partial
from typing import Any

from kouji.models.gpt_sovits.symbols import PUNCTUATION
from kouji.models.optional import import_library

_UNITS = {  # singular, plural
    "m": ("meter", "meters"),
    "km": ("kilometer", "kilometers"),
    "km/h": ("kilometer per hour", "kilometers per hour"),
    "ft": ("feet", "feet"),
    "L": ("liter", "liters"),
    "tbsp": ("tablespoon", "tablespoons"),
    "tsp": ("teaspoon", "teaspoons"),
    "h": ("hour", "hours"),
    "min": ("minute", "minutes"),
    "s": ("second", "seconds"),
    "°C": ("degree celsius", "degrees celsius"),
    "°F": ("degree fahrenheit", "degrees fahrenheit"),
}
_OPERATORS = {"+": "plus", "-": "minus", "×": "times", "÷": "divided by", "=": "Equals"}
_STOPS = str.maketrans({"。": ".", "！": "!", "？": "?"})

_SUPERSCRIPTS = "[⁰¹²³⁴⁵⁶⁷⁸⁹ˣʸⁿ]*"
_OPERAND = rf"-?\d+(?:\.\d+)?{_SUPERSCRIPTS}|\.\d+{_SUPERSCRIPTS}|[A-Za-z]{_SUPERSCRIPTS}"
_LIST_NUMBER = re.compile(r"\b([0-9]+)\. ")
_SUM = re.compile(rf"({_OPERAND})\s+([-+×÷=])\s+({_OPERAND})")
_NEGATIVE = re.compile(r"(?:^|\s+)-(\d+)")
_GROUPED = re.compile(r"[0-9][0-9,]+[0-9]")
_CLOCK = re.compile(r"\b([01]?[0-9]|2[0-3]):([0-5][0-9])\b")
# [Q] `km` is tried before `km/h` and always wins: "5km/h" is read "five kilometersh".
_MEASURE = re.compile(rf"\b([0-9]+(\.[0-9]+)?)({'|'.join(_UNITS)})\b")
_AMOUNT = "([0-9.,]*[0-9]+)"
_DECIMAL = re.compile(r"([0-9]+)\.(\s*[0-9]+)")
_FRACTION = re.compile(r"([0-9]+)/([0-9]+)")
_ORDINAL = re.compile(r"[0-9]+(?:st|nd|rd|th)")
_INTEGER = re.compile(r"[0-9]+")
_FOREIGN = re.compile(r"[^ A-Za-z'.,?!\-]")
_INNER_CAPITAL = re.compile(r"(?<!^)(?<!\s)([A-Z])")
_MARKS = re.escape("".join(PUNCTUATION))
_REPEATED_MARKS = re.compile(rf"([\s{_MARKS}])[{_MARKS}]+")


def normalise_english(text: str) -> str:
    """English text with numbers, units, money and sums as words.

    returns: letters, blanks and `' . , ? ! -` only; may be empty
    Raises UsageError without the library `inflect` (extra gpt-sovits).
    """
    text = _spell_numbers(text.translate(_STOPS))
    letters = (sign for sign in unicodedata.normalize("NFD", text) if not _is_accent(sign))
    text = "".join(letters).replace("%", " percent")
    text = _FOREIGN.sub("", text)
    text = re.sub(r"(?i)i\.e\.", "that is", text)
    text = re.sub(r"(?i)e\.g\.", "for example", text)
    text = _INNER_CAPITAL.sub(r" \1", text)  # [Q] "GPT" is spelled, but "iPhone" is "i Phone"
    return _REPEATED_MARKS.sub(r"\1", text)  # [Q] marks after a blank vanish altogether


def _is_accent(sign: str) -> bool:
    return unicodedata.category(sign) == "Mn"


def _spell_numbers(text: str) -> str:
    """The numeric links of the chain; their order is part of the format."""
    text = _LIST_NUMBER.sub(lambda found: f"{_words().ordinal(found[1])}, ", text)
    while _SUM.search(text):
        text = _SUM.sub(_sum, text)
    text = _NEGATIVE.sub(r"negative \1", text)  # [Q] swallows the blank: "is -3" -> "isnegative 3"
    text = _GROUPED.sub(lambda found: found[0].replace(",", ""), text)
    text = _CLOCK.sub(_clock, text)
    text = _MEASURE.sub(_measure, text)
    for sign, unit, part, parts in (
        ("£", "pound", "penny", "pence"),
        (r"\$", "dollar", "cent", "cents"),
    ):
        for pattern in (sign + _AMOUNT, _AMOUNT + sign):
            text = re.sub(pattern, partial(_money, unit=unit, part=part, parts=parts), text)
    text = _DECIMAL.sub(lambda found: f"{found[1]} point {' '.join(found[2])}", text)
    text = _FRACTION.sub(_fraction, text)
    text = _ORDINAL.sub(lambda found: _words().number_to_words(found[0]), text)
    return _INTEGER.sub(lambda found: _integer(int(found[0])), text)


def _sum(found: re.Match[str]) -> str:
    return f"{found[1]} {_OPERATORS[found[2]]} {found[3]}"


def _clock(found: re.Match[str]) -> str:
    hour, minute = int(found[1]), int(found[2])
    half = "a.m." if hour < 12 else "p.m."
    spoken_hour = _words().number_to_words(hour - 12 if hour > 12 else hour)
    spoken_minute = _words().number_to_words(minute) if minute else "o'clock"
    return f"{spoken_hour} {spoken_minute} {half}"


def _measure(found: re.Match[str]) -> str:
    singular, plural = _UNITS[found[3]]
    return f"{found[1]} {singular if not found[2] and int(found[1]) == 1 else plural}"


def _money(found: re.Match[str], unit: str, part: str, parts: str) -> str:
    """An amount such as "6.24" in whole units and hundredths, digits still to be spelled."""
    amount = found[1]
    pieces = amount.replace(",", "").split(".")
    if len(pieces) > 2:
        return f"{amount} {unit}s"
    whole = int(pieces[0] or 0)
    rest = int(pieces[1].ljust(2, "0")) if len(pieces) == 2 else 0
    spoken = []
    if whole or not rest:
        spoken.append(f"{whole or 'zero'} {unit if whole == 1 else unit + 's'}")
    if rest:
        spoken.append(f"{rest} {part if rest == 1 else parts}")
    return " and ".join(spoken)


def _fraction(found: re.Match[str]) -> str:
    above, below = int(found[1]), int(found[2])
    count = str(_words().number_to_words(above))
    if below == 1:
        return count
    if below == 2:
        return f"{count} {'half' if above == 1 else 'halves'}"
    return f"{count} {_words().ordinal(_words().number_to_words(below))}{'s' if above > 1 else ''}"


def _integer(number: int) -> str:
    """Years between 1001 and 2999 in pairs, all else as cardinals without "and"."""
    words = _words()
    if not 1000 < number < 3000:
        return str(words.number_to_words(number, andword=""))
    if number == 2000:
        return "two thousand"
    if 2000 < number < 2010:
        return f"two thousand {words.number_to_words(number % 100)}"
    if number % 100 == 0:
        return f"{words.number_to_words(number // 100)} hundred"
    paired = words.number_to_words(number, andword="", zero="oh", group=2)
    return str(paired).replace(", ", " ")


@lru_cache(maxsize=1)
def _words() -> Any:
    return import_library("inflect", "reading of English numbers").engine()
