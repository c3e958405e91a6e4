"""Numbers with what belongs to them, read out in Chinese: units, sums, phones, counts.

One reader after the other goes over a sentence; later ones see what earlier ones left.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kouji.models.gpt_sovits.text.zh_numbers import (
    read_cardinal,
    read_digits,
    read_number,
    read_signed,
)
from kouji.models.gpt_sovits.text.zh_units import (
    ABBREVIATIONS,
    MEASURE_WORD,
    NUMBER_UNITS,
    OPERATORS,
    SUPERSCRIPTS,
)

_POWERS = f"[{''.join(SUPERSCRIPTS)}]"
_NUMBER = r"\d+(?:\.\d+)?"
_ANY_NUMBER = rf"(?:-?{_NUMBER}|\.\d+)"
_TERM = rf"(?:-?{_NUMBER}{_POWERS}*|\.\d+{_POWERS}*|[A-Za-z]{_POWERS}*)"
_SUM = re.compile(rf"({_TERM})([+\-×÷=])({_TERM})")
_SIGNED = re.compile(rf"(-?)({_NUMBER})|(\.\d+)")
_NO_SUM_BEFORE, _NO_SUM_AFTER = r"(?<![\d+\-×÷=])", r"(?![\d+\-×÷=])"


def read_quantities(sentence: str) -> str:
    """A sentence without digits; dates and times of day have been read before."""
    for pattern, read in _BEFORE_SUMS:
        sentence = pattern.sub(read, sentence)
    for abbreviation, name in ABBREVIATIONS:
        sentence = sentence.replace(abbreviation, name)
    while _SUM.search(sentence):  # a+b+c takes two rounds
        sentence = _SUM.sub(lambda match: match[1] + OPERATORS[match[2]] + match[3], sentence)
    for pattern, read in _AFTER_SUMS:
        sentence = pattern.sub(read, sentence)
    return sentence


def _read_unit_range(match: re.Match[str]) -> str:
    return match.group().replace("~", "至")


def _read_temperature(match: re.Match[str]) -> str:
    unit = match[3] if match[3] == "摄氏度" else "度"
    return read_signed(match[1], match[2], negative="零下") + unit


def _read_power(match: re.Match[str]) -> str:
    return f"的{''.join(SUPERSCRIPTS[sign] for sign in match.group())}次方"


def _read_fraction(match: re.Match[str]) -> str:
    sign, numerator, denominator = match.groups()
    return f"{'负' if sign else ''}{read_cardinal(denominator)}分之{read_cardinal(numerator)}"


def _read_percentage(match: re.Match[str]) -> str:
    return f"{'负' if match[1] else ''}百分之{read_number(match[2])}"


def _read_phone(match: re.Match[str]) -> str:
    """Parts between hyphens are parted by a pause; the country's + is not said."""
    parts = match.group().strip("+").split("-")
    return "，".join(read_digits(part, one="幺") for part in parts)


def _read_range(match: re.Match[str]) -> str:
    first, last = (_SIGNED.sub(_read_signed_number, number) for number in match.groups())
    return f"{first}到{last}"


def _read_negative(match: re.Match[str]) -> str:
    return "负" + read_cardinal(match[1])


def _read_version(match: re.Match[str]) -> str:
    return read_digits(match.group()).replace(".", "点")


def _read_signed_number(match: re.Match[str]) -> str:
    return read_number(match[3]) if match[3] else read_signed(match[1], match[2])


def _read_count(match: re.Match[str]) -> str:
    number, more, measure = match.groups()
    count = read_cardinal(number)
    count = "两" if count == "二" else count
    return count + ("多" if more == "+" else more or "") + measure


def _read_long_number(match: re.Match[str]) -> str:
    return read_digits(match.group(), one="幺")


_Readers = tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]

_BEFORE_SUMS: _Readers = (
    (re.compile(f"{_ANY_NUMBER}{NUMBER_UNITS}~{_ANY_NUMBER}{NUMBER_UNITS}"), _read_unit_range),
    (re.compile(rf"(-?)({_NUMBER})(°C|℃|度|摄氏度)"), _read_temperature),
)
_AFTER_SUMS: _Readers = (
    (re.compile(f"{_POWERS}+"), _read_power),
    (re.compile(r"(-?)(\d+)/(\d+)"), _read_fraction),
    (re.compile(rf"(-?)({_NUMBER})%"), _read_percentage),
    (  # mobile numbers of China
        re.compile(r"(?<!\d)(?:\+?86)?1(?:[38]\d|5[0-35-9]|7[678]|9[89])\d{8}(?!\d)"),
        _read_phone,
    ),
    (re.compile(r"(?<!\d)(?:0(?:10|2[1-3]|[3-9]\d{2})-?)?[1-9]\d{6,7}(?!\d)"), _read_phone),
    (re.compile(r"400-?\d{3}-?\d{4}"), _read_phone),
    (
        re.compile(rf"{_NO_SUM_BEFORE}(-?{_NUMBER})[-~](-?{_NUMBER}){_NO_SUM_AFTER}"),
        _read_range,
    ),
    (re.compile(r"-(\d+)"), _read_negative),
    (re.compile(r"\d+\.\d+(?:\.\d+)?(?:\.\d+)+"), _read_version),
    (re.compile(r"(-?)(\d+\.\d+)|(\.\d+)"), _read_signed_number),
    (re.compile(rf"(\d+)([多余几+])?({MEASURE_WORD})"), _read_count),
    (re.compile(r"\d{3,}"), _read_long_number),
    (_SIGNED, _read_signed_number),
)
