"""Chinese number words: cardinals with 两, decimals, digit strings with 幺, fractions.

Takes ASCII digit strings without separators; knows nothing of context.
"""

from __future__ import annotations

DIGITS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
PHONE_DIGITS = {**DIGITS, "1": "幺"}
_PLACES = ("", "十", "百", "千")
_GROUPS = ("", "万", "亿", "万亿", "亿亿")
MAX_DIGITS = 4 * len(_GROUPS)


def digits(number: str, *, phone: bool = False) -> str:
    """Digit by digit: "110" -> 一一零, or 幺幺零 as phone numbers are said."""
    table = PHONE_DIGITS if phone else DIGITS
    return "".join(table[digit] for digit in number if digit in table)


def cardinal(number: str, *, liang: bool = False) -> str:
    """A whole number: "2024" -> 两千零二十四; `liang` says a lone 2 as 两 (before a measure word).

    More than 20 digits are read digit by digit.
    """
    number = number.lstrip("0") or "0"
    if number == "2" and liang:
        return "两"
    if len(number) > MAX_DIGITS:
        return digits(number)
    groups = _split_groups(number)
    text = ""
    pending_zero = False
    for index, group in enumerate(groups):
        unit = _GROUPS[len(groups) - 1 - index]
        if int(group) == 0:
            pending_zero = bool(text)
            continue
        if text and (pending_zero or group[0] == "0"):
            text += "零"
        pending_zero = False
        text += "两" + unit if unit and int(group) == 2 else _group(group) + unit
    text = text or "零"
    return text[1:] if text.startswith("一十") else text


def _split_groups(number: str) -> list[str]:
    padded = number.zfill((len(number) + 3) // 4 * 4)
    return [padded[i : i + 4] for i in range(0, len(padded), 4)]


def _group(group: str) -> str:
    """Four digits with their places, zeros joined to one 零, leading 2000 as 两千."""
    text = ""
    zero = False
    for place, digit in zip((3, 2, 1, 0), group, strict=True):
        if digit == "0":
            zero = bool(text)
            continue
        if zero:
            text += "零"
            zero = False
        text += ("两" if digit == "2" and place == 3 else DIGITS[digit]) + _PLACES[place]
    return text


def number(text: str, *, liang: bool = False) -> str:
    """A number with optional thousands commas, decimal point and sign: "-1,234.5"."""
    text = text.replace(",", "").replace(" ", "")
    sign = "负" if text[:1] in "-−" and text else "正" if text[:1] == "+" else ""
    whole, _, decimals = text.lstrip("+-−").partition(".")
    spoken = cardinal(whole or "0", liang=liang and not decimals)
    return sign + spoken + ("点" + digits(decimals) if decimals else "")


def year(text: str) -> str:
    """A year digit by digit: 2024 -> 二零二四."""
    return digits(text)


def fraction(numerator: str, denominator: str) -> str:
    """3/4 -> 四分之三."""
    return f"{number(denominator)}分之{number(numerator)}"
