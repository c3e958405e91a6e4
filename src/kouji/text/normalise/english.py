"""English number words: cardinals, ordinals, years, decimals, digit strings, fractions.

Takes ASCII digit strings; returns lower-case words parted by single spaces, American usage
without "and". Knows nothing of context.
"""

from __future__ import annotations

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ["", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion"]
_IRREGULAR = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


def digits(number: str, *, zero: str = "zero") -> str:
    """Digit by digit: "105" -> one zero five; `zero` may be "oh" as in phone numbers."""
    return " ".join(zero if d == "0" else ONES[int(d)] for d in number if d.isdecimal())


def cardinal(number: str) -> str:
    """A whole number: "1234" -> one thousand two hundred thirty four; > 21 digits one by one."""
    number = number.lstrip("0") or "0"
    if len(number) > 3 * len(SCALES):
        return digits(number)
    padded = number.zfill((len(number) + 2) // 3 * 3)
    groups = [int(padded[i : i + 3]) for i in range(0, len(padded), 3)]
    words: list[str] = []
    for index, group in enumerate(groups):
        if group:
            words += _below_thousand(group)
            words += filter(None, [SCALES[len(groups) - 1 - index]])
    return " ".join(words) or "zero"


def _below_thousand(value: int) -> list[str]:
    words = [ONES[value // 100], "hundred"] if value >= 100 else []
    return words + (_below_hundred(value % 100) if value % 100 else [])


def _below_hundred(value: int) -> list[str]:
    if value < 20:
        return [ONES[value]]
    return [TENS[value // 10]] + ([ONES[value % 10]] if value % 10 else [])


def ordinal(number: str) -> str:
    """ "21" -> twenty first."""
    *front, last = cardinal(number).split()
    return " ".join([*front, ordinal_word(last)])


def ordinal_word(word: str) -> str:
    """The ordinal of one number word: twenty -> twentieth."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return word[:-1] + "ieth" if word.endswith("y") else word + "th"


def number(text: str) -> str:
    """A number with optional thousands commas, decimal point and sign: "-1,234.5"."""
    text = text.replace(",", "").replace(" ", "")
    sign = "minus " if text[:1] in "-−" and text else "plus " if text[:1] == "+" else ""
    whole, _, decimals = text.lstrip("+-−").partition(".")
    spoken = cardinal(whole or "0")
    return sign + spoken + (" point " + digits(decimals) if decimals else "")


def year(text: str) -> str:
    """1999 -> nineteen ninety nine, 1905 -> nineteen oh five, 2005 -> two thousand five."""
    value = int(text)
    century, rest = divmod(value, 100)
    if value < 1000 or value > 9999:
        return cardinal(text)
    if rest == 0:
        return cardinal(text) if century % 10 == 0 else f"{cardinal(str(century))} hundred"
    if century % 10 == 0 and rest < 10:
        return cardinal(text)
    tail = f"oh {ONES[rest]}" if rest < 10 else " ".join(_below_hundred(rest))
    return f"{cardinal(str(century))} {tail}"


def plural(phrase: str) -> str:
    """The plural of the last word of a number phrase: twenties, nineteen hundreds, sixes."""
    *front, last = phrase.split()
    if last.endswith("y"):
        last = last[:-1] + "ies"
    else:
        last += "es" if last.endswith(("x", "s", "ch", "sh")) else "s"
    return " ".join([*front, last])


def fraction(numerator: str, denominator: str) -> str:
    """1/2 -> one half, 3/4 -> three quarters, 5/8 -> five eighths, 7/1 -> seven over one."""
    if int(denominator) < 2 or len(denominator) > 3:
        return f"{cardinal(numerator)} over {cardinal(denominator)}"
    singular = int(numerator) == 1
    names = {2: ("half", "halves"), 4: ("quarter", "quarters")}
    part = names.get(int(denominator))
    if part is None:
        name = ordinal(denominator)
        part = (name, name + "s")
    return f"{cardinal(numerator)} {part[0] if singular else part[1]}"
