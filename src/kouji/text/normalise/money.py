"""Reading of sums of money: signs and codes before or after, scales, cents, ranges."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from kouji.text.normalise import chinese, english
from kouji.text.normalise.reading import Reader, View, reader


class Currency(NamedTuple):
    """Names of a currency; `cent` is empty where sums with decimals are read as a number."""

    chinese: str
    singular: str
    plural: str
    cent: str = "cent"
    cents: str = "cents"


_DOLLAR = Currency("美元", "dollar", "dollars")
CURRENCIES = {
    "$": _DOLLAR,
    "€": Currency("欧元", "euro", "euros"),
    "£": Currency("英镑", "pound", "pounds", "penny", "pence"),
    "¥": Currency("元", "yuan", "yuan", ""),
    "HK$": Currency("港元", "hong kong dollar", "hong kong dollars"),
    "NT$": Currency("新台币", "taiwan dollar", "taiwan dollars"),
    "A$": Currency("澳元", "australian dollar", "australian dollars"),
    "C$": Currency("加元", "canadian dollar", "canadian dollars"),
    "S$": Currency("新加坡元", "singapore dollar", "singapore dollars"),
    "₩": Currency("韩元", "won", "won", ""),
    "₹": Currency("卢比", "rupee", "rupees", ""),
    "₽": Currency("卢布", "ruble", "rubles", ""),
    "₫": Currency("越南盾", "dong", "dong", ""),
    "฿": Currency("泰铢", "baht", "baht", ""),
    "₿": Currency("比特币", "bitcoin", "bitcoins", ""),
    "RMB": Currency("元人民币", "yuan", "yuan", ""),
    "CNY": Currency("元人民币", "yuan", "yuan", ""),
    "USD": Currency("美元", "US dollar", "US dollars"),
    "EUR": Currency("欧元", "euro", "euros"),
    "GBP": Currency("英镑", "pound", "pounds", "penny", "pence"),
    "JPY": Currency("日元", "yen", "yen", ""),
    "HKD": Currency("港元", "hong kong dollar", "hong kong dollars"),
    "AUD": Currency("澳元", "australian dollar", "australian dollars"),
    "CAD": Currency("加元", "canadian dollar", "canadian dollars"),
}
CURRENCIES["US$"] = CURRENCIES["USD"]
_SCALES = {
    "k": 3, "m": 6, "mn": 6, "mm": 6, "b": 9, "bn": 9, "t": 12, "tn": 12, "thousand": 3,
    "million": 6, "billion": 9, "trillion": 12,
}  # fmt: skip
_SCALE = (
    r"(?:\s?(?P<hanzi>[十百千]?万亿?|亿|[百千](?=[元块美])|万亿)"
    r"|\s(?P<word>thousand|million|billion|trillion)(?![A-Za-z])"
    r"|\s?(?P<letter>[kK]|[mM]|mn|MM|[bB]|[bB]n|[tT]n?)(?![A-Za-z/²³\d]))?"
)
_NAMES = "|".join(re.escape(name) for name in sorted(CURRENCIES, key=len, reverse=True))
_SIGNS = rf"(?P<currency>{_NAMES})"
_SAME_NAME = r"(?:\s?(?:元人民币|人民币|美元|欧元|英镑|日元|港元|港币|元|块钱?))?"


def _money(match: re.Match[str], view: View) -> str | None:
    sign = match["sign"] or ""
    amount = match["amount"].replace(",", "")
    low = (match["low"] or "").replace(",", "")
    currency = CURRENCIES[match["currency"]]
    if view.language(match) == "zh" or match["hanzi"]:
        return _say_chinese(sign, low, amount, match, currency)
    if sign == "+":
        sign = "plus "
    elif sign:
        sign = "minus "
    scale = _english_scale(match)
    if low:
        high = f"{english.number(amount)} {scale}".strip()
        return f"{sign}{english.number(low)} to {high} {currency.plural}"
    if scale:
        return f"{sign}{english.number(amount)} {scale} {_plural(match, view, currency)}"
    return sign + _say_english(amount, currency, _plural(match, view, currency))


def _say_chinese(sign: str, low: str, amount: str, match: re.Match[str], currency: Currency) -> str:
    name = currency.chinese
    written = re.search(r"(?:元人民币|人民币|美元|欧元|英镑|日元|港元|港币)$", match.group())
    if written:
        name = written.group()
    if match["hanzi"]:
        said = _chinese_amount(amount) + match["hanzi"]
    else:
        power = _SCALES.get((match["word"] or match["letter"] or "").lower(), 0)
        said = _chinese_amount(_times(amount, power))
    low_said = _chinese_amount(low) + "到" if low else ""
    minus = {"": "", "+": "正"}.get(sign, "负")
    return f"{minus}{low_said}{said}{name}"


def _chinese_amount(amount: str) -> str:
    if "." in amount:
        amount = amount.rstrip("0").rstrip(".")
    return chinese.number(amount, liang=True)


def _times(amount: str, power: int) -> str:
    return f"{Decimal(amount).scaleb(power):f}" if power else amount


def _english_scale(match: re.Match[str]) -> str:
    letter = (match["letter"] or "").lower()
    if match["word"]:
        return match["word"]
    names = {3: "thousand", 6: "million", 9: "billion", 12: "trillion"}
    return names[_SCALES[letter]] if letter else ""


def _plural(match: re.Match[str], view: View, currency: Currency) -> str:
    """A $20 bill is a twenty dollar bill."""
    article = re.search(r"\b[aA]n?\s(?:[a-z]+\s)?$", view.before(match))
    noun = re.match(r"-[a-z]|\s(?!an?\b|per|for|to|in|is|was|and|or|from|on|by|at)[a-z]",
                    view.after(match))  # fmt: skip
    return currency.singular if article and noun else currency.plural


def _say_english(amount: str, currency: Currency, plural: str) -> str:
    whole, _, decimals = amount.partition(".")
    major = "" if not int(whole) and decimals else (
        f"{english.cardinal(whole)} {currency.singular if int(whole) == 1 else plural}"
    )  # fmt: skip
    if not decimals.strip("0"):
        return major or f"zero {plural}"
    if len(decimals) != 2 or not currency.cent:
        return f"{english.number(amount)} {plural}"
    minor = f"{english.cardinal(decimals)} {currency.cent if decimals == '01' else currency.cents}"
    return f"{major} and {minor}" if major else minor


def _code_after(match: re.Match[str], view: View) -> str | None:
    """100 USD, 5k RMB."""
    return _money(match, view)


def _cents(match: re.Match[str], view: View) -> str:
    number = match["amount"]
    if view.language(match) == "zh":
        return chinese.number(number, liang=True) + "美分"
    return english.number(number) + (" cent" if number == "1" else " cents")


def _european(match: re.Match[str], view: View) -> str | None:
    """3,50 €, €1.234,56: the comma is the decimal sign."""
    currency = match["before"] or match["after"]
    if not currency:
        return None
    amount = match["amount"].replace(".", "").replace(",", ".")
    if view.language(match) == "zh":
        return _chinese_amount(amount) + CURRENCIES[currency].chinese
    return _say_english(amount, CURRENCIES[currency], CURRENCIES[currency].plural)


_EUROPEAN = reader(
    "European amount",
    r"(?P<before>€)?\s?(?P<amount>\d{1,3}(?:\.\d{3})*,\d{2})(?![\d,])\s?(?P<after>€|EUR(?![A-Za-z]))?",
    _european,
)
_LOW = r"(?:(?P<low>{N})\s?[-–—~]\s?(?:[$€£¥])?(?=\d))?"
_BEFORE = rf"(?P<sign>[-−+]?){_SIGNS}\s?{_LOW}(?P<amount>{{N}}){_SCALE}{_SAME_NAME}"
SYMBOL_READERS: tuple[Reader, ...] = (
    _EUROPEAN,
    reader("money", _BEFORE, _money),
)
LETTER_READERS: tuple[Reader, ...] = (reader("money", _BEFORE, _money),)
DIGIT_READERS: tuple[Reader, ...] = (
    _EUROPEAN,
    reader("money", rf"(?P<sign>)(?P<low>)(?P<amount>{{N}}){_SCALE}\s?{_SIGNS}(?![A-Za-z\d])",
           _code_after),
    reader("cents", r"(?P<amount>{N})\s?¢", _cents),
)  # fmt: skip
