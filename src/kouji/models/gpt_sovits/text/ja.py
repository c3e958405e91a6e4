"""Japanese text to GPT-SoVITS symbols: OpenJTalk phones with pitch marks.

OpenJTalk knows readings and accents; this module cuts the text at what it cannot read and turns
its full-context labels into phones after the scheme of ESPnet: `[` pitch rises, `]` falls, `#`
an accent phrase ends, `_` a pause. [Q] `#` is no symbol of the table and is spoken as UNK:
checkpoints were trained so.
"""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from kouji.errors import UsageError
from kouji.models.gpt_sovits.cut import collapse_punctuation
from kouji.models.gpt_sovits.symbols import UNKNOWN, symbol_ids
from kouji.models.gpt_sovits.text.ja_numbers import accent_numbers
from kouji.models.gpt_sovits.text.phonemes import Phonemes
from kouji.models.optional import import_library

# Letters, digits, the repetition mark, kana, hanzi, full-width letters and digits (not zero),
# half-width kana. All else separates; [Q] "〇" and "０" too.
_READABLE = r"A-Za-z\d々぀-ヿ一-鿿１-９Ａ-Ｚａ-ｚｦ-ﾝ"
_PARTS = re.compile(rf"([^{_READABLE}])")
_MARKS = {
    "：": ",", "；": ",", "，": ",", "、": ",", "·": ",", "。": ".", "\n": ".",
    "！": "!", "？": "?",
}  # fmt: skip
_HANZI_DIGITS = dict(zip("一二三四五六七八九", "123456789", strict=True))
_ENDS_ACCENT_PHRASE = frozenset("a e i o u A E I O U N cl".split())

_PHONE = re.compile(r"-(.*?)\+")
_ACCENT_DISTANCE = re.compile(r"/A:(-?\d+)\+")
_MORA_FORWARD = re.compile(r"\+(\d+)\+")
_MORA_BACKWARD = re.compile(r"\+(\d+)/")
_PHRASE_MORAS = re.compile(r"/F:(\d+)_")
_NO_NUMBER = -50  # what a label without the number counts as; equal to no real one


class _Accent(NamedTuple):
    """Where a phone stands: moras after the accent, from the start and to the end of its phrase."""

    after_accent: int
    mora: int
    moras_left: int
    phrase_moras: int


def phonemize(text: str) -> Phonemes:
    """Symbols of a piece of Japanese text; what OpenJTalk cannot read is kept as a mark or UNK.

    Raises UsageError without the library (extra ja).
    """
    norm_text = collapse_punctuation(text)
    spoken = norm_text.replace("％", "パーセント").lower()
    phones: list[str] = []
    for part in _PARTS.split(spoken):
        if _PARTS.fullmatch(part):
            phones += [_MARKS.get(part, part)] if part != " " else []
        elif part:
            phones += prosody_phones(_full_context_labels(part))
    known = symbol_ids("v2")
    return Phonemes(tuple(p if p in known else UNKNOWN for p in phones), None, norm_text)


def prosody_phones(labels: list[str]) -> list[str]:
    """Phones and pitch marks of one utterance's full-context labels, silences at its ends cut."""
    phones: list[str] = []
    for label, following in zip(labels, [*labels[1:], ""], strict=False):
        found = _PHONE.search(label)
        phone = found[1] if found else "sil"
        if phone == "sil":
            continue
        if phone == "pau":
            phones.append("_")
            continue
        phone = phone.lower() if phone in "AEIOU" else phone  # unvoiced vowels as voiced ones
        phones += [phone, *_pitch_mark(phone, _accent(label), _accent(following).mora)]
    return phones


def _pitch_mark(phone: str, accent: _Accent, next_mora: int) -> tuple[str, ...]:
    if accent.moras_left == 1 and next_mora == 1 and phone in _ENDS_ACCENT_PHRASE:
        return ("#",)
    is_last = accent.mora == accent.phrase_moras
    if accent.after_accent == 0 and next_mora == accent.mora + 1 and not is_last:
        return ("]",)
    return ("[",) if accent.mora == 1 and next_mora == 2 else ()


def _accent(label: str) -> _Accent:
    patterns = (_ACCENT_DISTANCE, _MORA_FORWARD, _MORA_BACKWARD, _PHRASE_MORAS)
    found = (pattern.search(label) for pattern in patterns)
    return _Accent(*(int(match[1]) if match else _NO_NUMBER for match in found))


def use_dictionary(csv: Path, compiled: Path) -> None:
    """Read the words of an OpenJTalk user dictionary before all others, in this whole process.

    csv:      the dictionary's source, such as `ja_userdic/userdict.csv` of the official folder
    compiled: where the compiled form is written; taken as it is when newer than the source
    Raises UsageError without the library or the source.
    """
    library = _open_jtalk()
    if not csv.is_file():
        raise UsageError("no such Japanese user dictionary", seen=csv, cure="check the path")
    if not compiled.is_file() or compiled.stat().st_mtime < csv.stat().st_mtime:
        library.mecab_dict_index(str(csv), str(compiled))
    library.update_global_jtalk_with_user_dict(str(compiled))


def _full_context_labels(part: str) -> list[str]:
    library, options = _open_jtalk(), _plain_options()
    words = library.run_frontend(part, **options)
    numbers = _arabic_numbers([str(word["string"]) for word in words])
    if numbers is not None:
        words = library.run_frontend(numbers, **options)
    if any(word["pos_group1"] == "数" for word in words):
        rules = _accent_rules(numbers or part)
        accent_numbers(words, lambda alone: list(library.run_frontend(alone, **options)), rules)
    is_heard = any(word["mora_size"] for word in words)
    return list(library.make_label(words)) if is_heard else []  # the library complains aloud


def _accent_rules(part: str) -> dict[str, str]:
    """The accent rule of each word as the dictionary has it; the library changes some later."""
    read = getattr(_open_jtalk(), "run_mecab", None)
    records = (record.split(",") for record in (read(part) if read else ()))
    return {record[0]: record[-1] for record in records}


def _arabic_numbers(words: list[str]) -> str | None:
    """The words joined, numbers of hanzi digits in Arabic ones; None where there are none.

    pyopenjtalk-plus reads bare digits such as 一二三 one by one, the plain OpenJTalk as one number.
    """
    pieces: list[str] = []
    has_numbers = False
    for is_digits, group in groupby(words, key=_HANZI_DIGITS.__contains__):
        run = "".join(group)
        is_number = is_digits and len(run) > 1
        pieces.append("".join(map(_HANZI_DIGITS.__getitem__, run)) if is_number else run)
        has_numbers = has_numbers or is_number
    return "".join(pieces) if has_numbers else None


@lru_cache(maxsize=1)
def _plain_options() -> dict[str, bool]:
    """pyopenjtalk-plus corrects readings on its own; checkpoints learned the plain ones."""
    parameters = inspect.signature(_open_jtalk().run_frontend).parameters
    return {"use_vanilla": True} if "use_vanilla" in parameters else {}


@lru_cache(maxsize=1)
def _open_jtalk() -> Any:
    return import_library("pyopenjtalk", "Japanese", extra="ja", package="pyopenjtalk-plus")
