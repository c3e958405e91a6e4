"""Digits into words as the official front end reads them, for `official_text`.

Chinese and English go through the tagger and verbaliser graphs that the package wetext carries,
by the rules of its version 0.0.4, which CosyVoice pins; what is not Chinese then has its digits
spelled in English as the package inflect spells them. Knows nothing of segments.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from kouji.errors import TextError
from kouji.models.optional import import_library, missing_library
from kouji.text.normalise.english import ONES, TENS

_PURPOSE = "the official text handling of CosyVoice"
_EXTRA = "cosyvoice"
HANZI = re.compile("[\u4e00-\u9fff]")
# The verbaliser expects the fields of these tokens in a certain order (wetext, Apache-2.0).
_ORDERS: dict[str, dict[str, tuple[str, ...]]] = {
    "zh": {
        "date": ("year", "month", "day"),
        "fraction": ("denominator", "numerator"),
        "measure": ("denominator", "numerator", "value"),
        "money": ("value", "currency"),
        "time": ("noon", "hour", "minute", "second"),
    },
    "en": {
        "date": ("preserve_order", "text", "day", "month", "year"),
        "money": ("integer_part", "fractional_part", "quantity", "currency_maj"),
    },
}
_SCALES = (
    "", "thousand", "million", "billion", "trillion", "quadrillion", "quintillion", "sextillion",
    "septillion", "octillion", "nonillion", "decillion",
)  # fmt: skip
_FIELD = re.compile(r'(\w+): "((?:\\.|[^"\\])*)"', re.DOTALL)
_TOKEN = re.compile(r'(\w+) \{((?:\s*\w+: "(?:\\.|[^"\\])*")*)\s*\}', re.DOTALL)


def read_with_wetext(text: str) -> str:
    """A text with its digits as words; one without digits as it is, but stripped.

    raises: TextError where the graphs take no such text, as the official code does;
            UsageError without the packages
    """
    text = text.strip()
    if not re.search(r"\d", text):
        return text
    language = "zh" if HANZI.search(text) else "en"
    tag, verbalise = _graphs(language)
    tagged = tag(text).strip()
    if not tagged:
        raise TextError(
            "the official text normaliser does not take this text",
            seen=repr(text[:40]),
            cure="write its numbers as words, or leave the compatible text handling off",
        )
    return verbalise(_reordered(tagged, _ORDERS[language])).strip()


def spell_digits(text: str) -> str:
    """Each run of digits, of any script, in English words.

    raises: TextError for a number beyond decillions, where inflect ends too
    """
    return "".join(
        english_number("".join(run)) if is_digit else "".join(run)
        for is_digit, run in groupby(text, str.isdigit)
    )


def english_number(digits: str) -> str:
    """What inflect makes of a number: `1005` is one thousand and five, `1²` is one.

    Written out here, since importing inflect takes seconds.
    """
    decimals = (str(unicodedata.decimal(digit)) for digit in digits if digit.isdecimal())
    plain = "".join(decimals).lstrip("0")
    if len(plain) > 3 * len(_SCALES):
        raise TextError(
            "the official text handling cannot spell this number",
            seen=digits[:40],
            allowed=f"up to {3 * len(_SCALES)} digits",
            cure="write it in words, or leave the compatible text handling off",
        )
    value, groups = int(plain or "0"), list[str]()
    is_small = 0 < value % 1000 < 100  # then "and" stands before it
    for scale in _SCALES:
        value, group = divmod(value, 1000)
        if group:
            groups.insert(0, f"{_below_thousand(group)} {scale}".strip())
    if is_small and len(groups) > 1:
        groups[-2:] = [f"{groups[-2]} and {groups[-1]}"]
    return ", ".join(groups) or "zero"


def _below_thousand(value: int) -> str:
    hundreds, rest = divmod(value, 100)
    words = [f"{ONES[hundreds]} hundred"] if hundreds else []
    if rest:
        tens, ones = divmod(rest, 10)
        words.append(ONES[rest] if rest < 20 else TENS[tens] + (f"-{ONES[ones]}" if ones else ""))
    return " and ".join(words)


def _reordered(tagged: str, orders: dict[str, tuple[str, ...]]) -> str:
    """Tagged tokens with their fields in the verbaliser's order, values as they were."""
    return " ".join(
        _token(name, dict(_FIELD.findall(fields)), orders.get(name, ()))
        for name, fields in _TOKEN.findall(tagged)
    )


def _token(name: str, fields: dict[str, str], order: tuple[str, ...]) -> str:
    if fields.get("preserve_order") == "true":
        order = ()
    keys = [*order, *(key for key in fields if key not in order)]
    written = "".join(f' {key}: "{fields[key]}"' for key in keys if key in fields)
    return f"{name} {{{written} }}"


@lru_cache(maxsize=2)
def _graphs(language: str) -> tuple[Callable[[str], str], Callable[[str], str]]:
    """Tagger and verbaliser; the package itself would load those of all languages."""
    kaldifst = import_library("kaldifst", _PURPOSE, extra=_EXTRA)
    spec = find_spec("wetext")
    places = list(spec.submodule_search_locations or ()) if spec else []
    folder = Path(places[0], "fsts", language, "tn") if places else Path()
    files = [folder / "tagger.fst", folder / "verbalizer.fst"]
    if not places or not all(file.is_file() for file in files):
        error = ImportError("no graphs of wetext 0.1" if places else "no package wetext")
        raise missing_library("wetext", _PURPOSE, error, extra=_EXTRA)
    tag, verbalise = (kaldifst.TextNormalizer(str(file)) for file in files)
    return tag, verbalise
