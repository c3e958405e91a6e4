"""A text into pieces of one writing: Chinese, Japanese, Korean, English, digits.

Ours and deterministic: what a character set can tell, no statistics. The official front end asks
a language detector here, which takes a lone 年 or 和 for Japanese; its output can be given to
`languages` in place of this.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

DIGITS = "digit"
UNKNOWN = "x"


class Piece(NamedTuple):
    """A stretch of text and its language: zh, ja, ko, en, yue, `digit` or `x` (unknown)."""

    language: str
    text: str


Splitter = Callable[[str], list[Piece]]

_KANA = r"\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9f"
_HANGUL = r"\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7af"
_HANZI = r"々〇\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LATIN = r"A-Za-zÀ-ÖØ-öø-ɏＡ-Ｚａ-ｚ"
_TOKENS = re.compile(
    rf"(?P<kana>[{_KANA}]+)|(?P<ko>[{_HANGUL}]+)|(?P<han>[{_HANZI}]+)"
    rf"|(?P<degree>[°℃℉])|(?P<en>[{_LATIN}]+)|(?P<digit>[0-9０-９]+)"
    r"|(?P<mark>[^\w]|_)|(?P<other>.)",
    re.DOTALL,
)
# A unit behind a number in Chinese text is said in Chinese, so it must not become English.
_UNIT = re.compile(
    r"(?<=[0-9])(?:\s?(?:[°º][CF]|℃|℉|[kmc]m[²³23]?|m[²³23]?|mm|[km]g|ml|db)(?:/[hs])?)"
    rf"(?=\s*(?:$|[{_HANZI}，。、；：！？,;!?)）\]~]))"
)
_SENTENCE = re.compile(r"[^。！？!?\n]*[。！？!?\n]*")


def split_by_script(text: str, *, compat: bool = False) -> list[Piece]:
    """Pieces that make up the text; marks and spaces belong to the piece before them.

    Hanzi are Japanese where kana stand in the same sentence or a form only Japan uses, unless a
    form says Chinese (你, 们, 气).
    compat: digits and a unit behind them part, as in the official splitter (25 | cm)
    """
    japanese_text = bool(re.search(f"[{_KANA}]", text)) and not _has_chinese(text)
    pieces: list[Piece] = []
    opening = ""
    for sentence in _SENTENCE.findall(text):
        japanese = japanese_text or _is_japanese(sentence)
        for kind, part in _tokens(sentence, compat):
            if kind != "mark":
                _append(pieces, _language(kind, part, japanese), opening + part)
                opening = ""
            elif pieces:
                pieces[-1] = Piece(pieces[-1].language, pieces[-1].text + part)
            else:
                opening += part
    return [*pieces, Piece(UNKNOWN, opening)] if opening else pieces


def _tokens(sentence: str, compat: bool) -> Iterator[tuple[str, str]]:
    """Kinds and texts of the runs of a sentence; a unit is of the kind of its number."""
    units = {} if compat else {unit.start(): unit.end() for unit in _UNIT.finditer(sentence)}
    place = 0
    while place < len(sentence):
        if place in units and re.search(f"[{_HANZI}]", sentence):
            yield DIGITS, sentence[place : units[place]]
            place = units[place]
            continue
        match = _TOKENS.match(sentence, place)
        assert match is not None  # the last kind takes any character
        yield str(match.lastgroup), match.group()
        place = match.end()


def _append(pieces: list[Piece], language: str, part: str) -> None:
    if pieces and pieces[-1].language == language:
        pieces[-1] = Piece(language, pieces[-1].text + part)
    else:
        pieces.append(Piece(language, part))


def _language(kind: str, part: str, japanese: bool) -> str:
    if kind == "han":
        if _has_chinese(part):
            return "zh"
        return "ja" if japanese or any(map(_is_japanese_form, part)) else "zh"
    return {"kana": "ja", "degree": "en", "other": UNKNOWN}.get(kind, kind)


def _is_japanese(sentence: str) -> bool:
    """Kana in it, and no character that Japanese does not write."""
    return bool(re.search(f"[{_KANA}]", sentence)) and not _has_chinese(sentence)


def _has_chinese(text: str) -> bool:
    return any(_is_chinese_form(sign) for sign in re.findall(f"[{_HANZI}]", text))


@lru_cache(maxsize=8192)
def _is_chinese_form(character: str) -> bool:
    """Outside the Japanese standard JIS X 0208: 你, 们, 这, 气."""
    return not _is_encodable(character, "shift_jis") and _is_encodable(character, "gb18030")


@lru_cache(maxsize=8192)
def _is_japanese_form(character: str) -> bool:
    """In the Japanese standard, in those of China and Taiwan not: 気, 駅, 円, 々."""
    is_chinese = _is_encodable(character, "gb2312") or _is_encodable(character, "big5")
    return _is_encodable(character, "shift_jis") and not is_chinese


def _is_encodable(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
