"""Numbers read out in Chinese: cardinals, decimals, digits one by one.

Takes strings of ASCII digits, as the readers of `zh_normalise` find them. The spoken forms
are those the networks heard in training, so they are kept even where speakers vary.
"""

from __future__ import annotations

DIGITS = dict(zip("0123456789", "零一二三四五六七八九", strict=True))
_POWERS = ((8, "亿"), (4, "万"), (3, "千"), (2, "百"), (1, "十"))


def read_cardinal(digits: str) -> str:
    """`12` -> 十二, `10200` -> 一万零二百; zeros in front are ignored."""
    digits = digits.lstrip("0")
    if not digits:
        return DIGITS["0"]
    spoken = _read_place(digits)
    return spoken[1:] if spoken.startswith("一十") else spoken


def _read_place(digits: str) -> str:
    """A number with its zeros in front, which are said once where something follows them."""
    significant = digits.lstrip("0")
    if not significant:
        return ""
    if len(significant) == 1:
        zero = DIGITS["0"] if len(digits) > 1 else ""
        return zero + DIGITS[significant]
    power, unit = next(pair for pair in _POWERS if pair[0] < len(significant))
    return _read_place(digits[:-power]) + unit + _read_place(digits[-power:])


def read_number(number: str) -> str:
    """`3.14` -> 三点一四, `.5` -> 零点五, `2.50` -> 二点五零; at most one zero ends it."""
    whole, point, decimals = number.partition(".")
    spoken = read_cardinal(whole) if whole else DIGITS["0"]
    trimmed = decimals.rstrip("0")
    decimals = trimmed + "0" if trimmed != decimals else decimals
    return f"{spoken}点{read_digits(decimals)}" if point and decimals else spoken


def read_digits(digits: str, *, one: str = "一") -> str:
    """Each digit by itself; `one` is 幺 where a misheard 1 would hurt. Other signs stay."""
    return "".join(one if sign == "1" else DIGITS.get(sign, sign) for sign in digits)


def read_signed(sign: str, number: str, *, negative: str = "负") -> str:
    """A number behind its sign, which is empty or a minus."""
    return (negative if sign else "") + read_number(number)
