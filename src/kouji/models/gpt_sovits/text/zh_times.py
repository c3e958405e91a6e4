"""Dates and times of day read out in Chinese, as GPT-SoVITS' normaliser does."""

from __future__ import annotations

import re

from kouji.models.gpt_sovits.text.zh_numbers import read_cardinal, read_digits

_DATE = re.compile(
    r"(?P<year>\d{4}|\d{2})年"
    r"(?:(?P<month>0?[1-9]|1[0-2])月)?"
    r"(?:(?P<day>0?[1-9]|[12]\d|30|31)(?P<unit>[日号]))?"
)
_DATE_ISO = re.compile(
    r"(?P<year>\d{4})(?P<mark>[- /.])(?P<month>0[1-9]|1[012])(?P=mark)"
    r"(?P<day>0[1-9]|[12]\d|3[01])"
)
_CLOCK = r"([0-1]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?"
_TIME = re.compile(_CLOCK)
_TIME_RANGE = re.compile(f"{_CLOCK}[~-]{_CLOCK}")
_HALF = 30


def read_dates(text: str) -> str:
    """`2024年3月15日` and `2024-03-15`: the year digit by digit, month and day as numbers."""
    return _DATE_ISO.sub(_read_date, _DATE.sub(_read_date, text))


def _read_date(match: re.Match[str]) -> str:
    parts = match.groupdict()
    spoken = read_digits(parts["year"]) + "年"
    if parts["month"]:
        spoken += read_cardinal(parts["month"]) + "月"
    if parts["day"]:
        spoken += read_cardinal(parts["day"]) + (parts.get("unit") or "日")
    return spoken


def read_times(text: str) -> str:
    """`9:30` -> 九点半, `8:05-17:00` -> 八点零五分至十七点."""
    return _TIME.sub(_read_time, _TIME_RANGE.sub(_read_range, text))


def _read_time(match: re.Match[str]) -> str:
    hour, minute, second = match.groups()
    return _spoken_time(hour, minute, second, is_half=int(minute) == _HALF)


def _read_range(match: re.Match[str]) -> str:
    """Kept from the official reader: the minute of the first time decides 半 for both."""
    first, last = match.groups()[:3], match.groups()[3:]
    is_half = int(first[1]) == _HALF
    return f"{_spoken_time(*first, is_half=is_half)}至{_spoken_time(*last, is_half=is_half)}"


def _spoken_time(hour: str, minute: str, second: str | None, *, is_half: bool) -> str:
    spoken = read_cardinal(hour) + "点"
    if minute.strip("0"):
        spoken += "半" if is_half else _two_digits(minute) + "分"
    if second and second.strip("0"):
        spoken += _two_digits(second) + "秒"
    return spoken


def _two_digits(digits: str) -> str:
    return ("零" if digits.startswith("0") else "") + read_cardinal(digits)
