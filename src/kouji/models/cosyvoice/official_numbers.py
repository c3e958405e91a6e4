"""Digits into words as the official front end reads them, for `official_text`.

Chinese and English go through the tagger and verbaliser graphs that the package wetext carries,
by the rules of its version 0.0.4, which CosyVoice pins; what is not Chinese then has its digits
spelled in English by the package inflect. Knows nothing of segments.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from kouji.errors import TextError
from kouji.models.optional import import_library, missing_library

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

    raises: TextError for a number beyond inflect; UsageError without the package
    """
    speller = _speller()
    return "".join(
        _spelled(speller, "".join(run)) if is_digit else "".join(run)
        for is_digit, run in groupby(text, str.isdigit)
    )


def _spelled(speller: Callable[[str], str], digits: str) -> str:
    try:
        return speller(digits)
    except Exception as error:  # inflect has error classes of its own
        raise TextError(
            "the official text handling cannot spell this number",
            seen=digits[:40],
            cure="write it in words, or leave the compatible text handling off",
        ) from error


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


@lru_cache(maxsize=1)
def _speller() -> Callable[[str], str]:
    engine = import_library("inflect", _PURPOSE, extra=_EXTRA).engine()
    spell: Callable[[str], str] = engine.number_to_words
    return spell
