"""Text as the official front end of CosyVoice hands it to the tokenizer, for compatible requests.

Normalising, cutting and joining of FunAudioLLM/CosyVoice (commit ace7c47), oddities included:
English numbers in German, a full stop behind a Japanese one. Kouji's own handling is `front`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal

from kouji.errors import TextError
from kouji.models.cosyvoice.text.official_numbers import HANZI, read_with_wetext, spell_digits

Normaliser = Literal["wetext", "none"]

_MARKS = {"zh": frozenset("。？！；：、.?!;"), "en": frozenset(".?!;:")}
_MAX_LENGTH, _MIN_LENGTH, _CRUMB_LENGTH = 80, 60, 20  # of a segment, see `merge`
_DELETED = str.maketrans("", "", "\n（）【】`")
_REPLACED = (("²", "平方"), ("³", "立方"), (".", "。"), (" - ", "，"))


def official_normalise(
    text: str, *, normaliser: Normaliser, count_tokens: Callable[[str], int]
) -> str:
    """The text in one piece, as the official code treats what a reference says."""
    return _normalise(text, normaliser, count_tokens)[0]


def official_segments(
    text: str, *, normaliser: Normaliser, count_tokens: Callable[[str], int]
) -> list[str]:
    """The segments that are spoken one by one; may be none.

    normaliser:   "wetext", or "none" as officially where it is not installed
    count_tokens: of a text that is not Chinese, by which its segments are sized
    raises:       TextError where the official code fails; UsageError without the packages
    """
    return _normalise(text, normaliser, count_tokens)[1]


def _normalise(
    text: str, normaliser: Normaliser, count_tokens: Callable[[str], int]
) -> tuple[str, list[str]]:
    if not text or ("<|" in text and "|>" in text):
        return text, [text]
    text = text.strip()
    is_chinese = HANZI.search(text) is not None
    if normaliser == "wetext":
        text = read_with_wetext(text)
    text = _tidy_chinese(text) if is_chinese else spell_digits(text)
    if not text:
        raise TextError("nothing to speak in the text", seen=repr(text), cure="give it a word")
    pieces = cut(text, "zh" if is_chinese else "en")
    segments = merge(pieces, len if is_chinese else count_tokens)
    return text, [segment for segment in segments if not _is_silent(segment)]


def _tidy_chinese(text: str) -> str:
    text = _without_blanks(text.replace("\n", ""))
    for old, new in _REPLACED:
        text = text.replace(old, new)
    text = text.translate(_DELETED).replace("——", " ")
    return re.sub("[，,、]+$", "。", text)


def _without_blanks(text: str) -> str:
    """Blanks go except between two ASCII characters."""
    return "".join(
        sign
        for place, sign in enumerate(text)
        if sign != " " or (_holds(text[place - 1]) and _holds(text[place + 1 : place + 2]))
    )


def _holds(neighbour: str) -> bool:
    return neighbour.isascii() and neighbour not in ("", " ")


def cut(text: str, language: Literal["zh", "en"]) -> list[str]:
    """A text at every mark, each piece with its mark; of neighbouring marks the first stays.

    raises: TextError for a text that begins with a mark before a quote
    """
    marks = _MARKS[language]
    if text[-1] not in marks:
        text += "。" if language == "zh" else "."
    pieces: list[str] = []
    start = 0
    for place, sign in enumerate(text):
        if sign not in marks:
            continue
        if place > start:
            pieces.append(text[start : place + 1])
        start = place + 1
        if text[start : start + 1] in ('"', "”"):
            if not pieces:
                seen, cure = repr(text[:20]), "begin with a word"
                raise TextError("the text begins with a mark and a quote", seen=seen, cure=cure)
            pieces[-1] += text[start]
            start += 1
    return pieces


def merge(pieces: Sequence[str], length: Callable[[str], int]) -> list[str]:
    """Pieces joined into segments of 60 to 80 by `length`, a short rest with the last."""
    segments: list[str] = []
    current = ""
    for piece in pieces:
        if length(current + piece) > _MAX_LENGTH and length(current) > _MIN_LENGTH:
            segments.append(current)
            current = ""
        current += piece
    if current and segments and length(current) < _CRUMB_LENGTH:
        segments[-1] += current
    elif current:
        segments.append(current)
    return segments


def _is_silent(segment: str) -> bool:
    return all(unicodedata.category(sign)[0] in "PS" for sign in segment)
