"""Figures in the words of a style: rates, semitones and decibels, in digits or hanzi.

Knows how people write them and what range is allowed; words without a number are `style`'s.
"""

from __future__ import annotations

import re

from kouji.errors import StyleError

RATE_RANGE = (0.5, 2.0)
PITCH_RANGE_SEMITONES = (-12.0, 12.0)
ENERGY_RANGE_DB = (-20.0, 12.0)

_NUMBER = r"(\d{1,3}(?:\.\d{1,4})?)"
_RATE_WORD = r"(?:rate|speed|pace|tempo|语速|速度|速率)\s*(?:of|=|:|at|is|为|是|到|调到|放到)?\s*"
_PATTERNS: tuple[tuple[str, str, str], ...] = (
    ("percent", rf"{_NUMBER}\s*%\s*(faster|quicker|slower)", "word after"),
    ("percent", rf"(faster|quicker|slower)\s*by\s*{_NUMBER}\s*%", "word before"),
    ("percent", rf"(快|慢)\s*(?:了)?{_NUMBER}\s*%", "word before"),
    ("rate_percent", rf"{_RATE_WORD}{_NUMBER}\s*%", ""),
    ("rate", rf"{_RATE_WORD}x?{_NUMBER}\s*(?:x|times|倍速|倍)?(?![\d%])", ""),
    ("rate", rf"{_NUMBER}\s*(?:x|times|×)(?:\s*(?:speed|faster|rate|as\s+fast))?(?![a-z])", ""),
    ("rate", rf"x\s*{_NUMBER}(?:\s*speed)?", ""),
    ("rate", rf"{_NUMBER}\s*倍(?:速|语速|的?速度)?", ""),
    ("pitch", rf"(lower|down)[a-z ]*?\s(?:by\s)?{_NUMBER}\s*(?:semitones?|st)()", ""),
    (
        "pitch",
        rf"([+-]?){_NUMBER}\s*(?:semitones?|st|half\s*steps?)(?![a-z])"
        r"(?:\s*(higher|lower|up|down))?",
        "",
    ),
    ("pitch", rf"(高|低|升|降|升高|降低)\s*{_NUMBER}\s*个?半音()", ""),
    ("pitch", rf"([+-]?){_NUMBER}\s*个?半音()", ""),
    ("pitch", rf"(?:pitch|音调|音高|声调)\s*[:=]?\s*([+-]){_NUMBER}()", ""),
    (
        "energy",
        rf"(?:volume|energy|loudness|音量)\s*[:=]?\s*([+-]){_NUMBER}(?:\s*(?:db|分贝))?()",
        "",
    ),
    ("energy", rf"([+-]?){_NUMBER}\s*(?:db|分贝)(?:\s*(louder|quieter|softer))?", ""),
)  # fmt: skip
_FRACTIONS = {
    "half speed": 0.5, "half the speed": 0.5, "half as fast": 0.5, "double speed": 2.0,
    "twice as fast": 2.0, "double the speed": 2.0, "两倍速": 2.0, "两倍语速": 2.0, "半速": 0.5,
    "快一倍": 2.0, "慢一半": 0.5, "一半速度": 0.5, "一半的速度": 0.5, "一倍半": 1.5,
}  # fmt: skip
_HANZI_NUMBER = re.compile(
    r"([零一二两三四五六七八九十])(?:点([零一二三四五六七八九]+))?(?=\s*(?:倍(?!半)|个?半音|分贝))(?<![快慢]一)"
)
_HANZI_DIGITS = {sign: str(value) for value, sign in enumerate("零一二三四五六七八九十")} | {
    "两": "2"
}
_DOWNWARDS = ("-", "lower", "down", "低", "降", "降低", "quieter", "softer", "slower", "慢")


def take_figures(clause: str) -> tuple[str, dict[str, float]]:
    """A clause in lower case without what is given by number, and those numbers.

    raises: StyleError for a number out of range
    """
    numbers: dict[str, float] = {}
    clause = _HANZI_NUMBER.sub(_arabic, clause)
    for phrase, rate in _FRACTIONS.items():
        if phrase in clause:
            clause, numbers["rate"] = clause.replace(phrase, " "), rate
    for kind, pattern, order in _PATTERNS:
        match = re.search(pattern, clause)
        if match is None:
            continue
        name, value = _value_of(kind, match, order)
        _check_range(name, value, match.group().strip())
        numbers[name] = value
        clause = clause[: match.start()] + " " + clause[match.end() :]
    return clause, numbers


def _arabic(match: re.Match[str]) -> str:
    decimals = "".join(_HANZI_DIGITS[sign] for sign in match[2] or "")
    return _HANZI_DIGITS[match[1]] + (f".{decimals}" if decimals else "")


def _value_of(kind: str, match: re.Match[str], order: str) -> tuple[str, float]:
    if kind == "percent":
        number, word = match.groups() if order == "word after" else match.groups()[::-1]
        return "rate", 1.0 + float(number) / 100 * (-1 if word in _DOWNWARDS else 1)
    if kind == "rate_percent":
        return "rate", float(match[1]) / 100
    if kind == "rate":
        return "rate", float(match[1])
    is_down = any(part in _DOWNWARDS for part in (match[1], match[3]) if part)
    return kind, float(match[2]) * (-1 if is_down else 1)


def _check_range(name: str, value: float, seen: str) -> None:
    low, high = {
        "rate": RATE_RANGE, "pitch": PITCH_RANGE_SEMITONES, "energy": ENERGY_RANGE_DB
    }[name]  # fmt: skip
    if not low <= value <= high:
        unit = {"rate": "times", "pitch": "semitones", "energy": "dB"}[name]
        raise StyleError(
            f"{name} of the style is out of range", seen=seen, allowed=f"{low:g} to {high:g} {unit}"
        )


def without_figures(text: str) -> str:
    """The words of a style without the numbers in them."""
    for phrase in _FRACTIONS:
        text = re.sub(re.escape(phrase), " ", text, flags=re.IGNORECASE)
    for _, pattern, _ in _PATTERNS:
        text = re.sub(pattern, " ", text, count=1, flags=re.IGNORECASE)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r"(?:^|(?<=[,，;；、。]))\s*[,，;；、]\s*|\s*[,，;；、]\s*$", "", text).strip()
