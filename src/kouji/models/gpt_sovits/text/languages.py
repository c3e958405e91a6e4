"""Which language each piece of a text is spoken in, for the language mode of a request.

The procedure of the official LangSegmenter, from the pieces of any splitter. A mode says how far
the request decides: `en` all of it, `all_zh` all but English, `zh` all but English too, but in
pieces as the splitter sees them, `auto` nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kouji.errors import UsageError
from kouji.models.gpt_sovits.text.spans import (
    DIGITS,
    UNKNOWN,
    Piece,
    Splitter,
    split_by_script,
)

MODES = {
    "v1": ("auto", "en", "zh", "ja", "all_zh", "all_ja"),
    "v2": (
        *("auto", "auto_yue", "en", "zh", "ja", "yue", "ko"),
        *("all_zh", "all_ja", "all_yue", "all_ko"),
    ),
}
LANGUAGES = {"v1": ("zh", "en", "ja"), "v2": ("zh", "en", "ja", "ko", "yue")}

# What a run of kana or hangul may go on across; 、-〜 is a range, as in the official pattern.
_BETWEEN = r"[0-9、-〜。！？.!?… ]"
_KANA = r"[\u3041-\u3096\u3099\u309a\u30a1-\u30fa\u30fc]"
_HANGUL = r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]"
_RUNS = {
    "ja": re.compile(f"{_KANA}+(?:{_BETWEEN}+{_KANA}*)*"),
    "ko": re.compile(f"{_HANGUL}+(?:{_BETWEEN}+{_HANGUL}*)*"),
}
_ENGLISH = re.compile(
    r"(?=.*[A-Za-z])[A-Za-z0-9\s\x20-\x7e\u2010-\u206f\u3000-\u303f\uff00-\uffef]+"
)
_NOT_CHINESE = re.compile(
    r"[^0-9、-〜。！？.!?… /\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_CLAUSE_MARKS = frozenset(",.!?，。！？")


def check_mode(mode: str, version: str) -> None:
    """Refuse a language mode the version does not have."""
    if mode not in MODES[version]:
        raise UsageError(
            f"GPT-SoVITS {version} does not speak this language",
            seen=mode,
            allowed=", ".join(MODES[version]),
        )


def segment(text: str, mode: str, split: Splitter = split_by_script) -> list[Piece]:
    """The pieces of a text, each to be spoken in the language it names.

    mode:  one of MODES
    split: a text into pieces with languages, digits apart; see `spans`
    """
    text = re.sub(" {2,}", " ", text)
    if mode == "en":
        return [Piece("en", text)]
    if mode.startswith("all_"):
        language = mode.removeprefix("all_")
        pieces = decide(split(text), "zh" if language == "yue" else language)
        return _as_cantonese(pieces) if language == "yue" else pieces
    pieces = decide(split(text), None)
    if mode == "auto":
        return pieces
    if mode == "auto_yue":
        return _as_cantonese(pieces)
    return _merge(Piece("en" if piece.language == "en" else mode, piece.text) for piece in pieces)


def decide(pieces: Iterable[Piece], default: str | None) -> list[Piece]:
    """Pieces of a splitter with their languages settled, neighbours of one language joined.

    default: the language of all that is not plainly English; None follows the splitter
    """
    settled = _merge(part for piece in pieces for part in _settle(piece, default))
    settled = _merge(_place_digits(settled))
    return _merge(_place_unknown(settled))


def _as_cantonese(pieces: list[Piece]) -> list[Piece]:
    return [Piece("yue", text) if language == "zh" else Piece(language, text)
            for language, text in pieces]  # fmt: skip


def _merge(pieces: Iterable[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in pieces:
        if merged and merged[-1].language == piece.language:
            merged[-1] = Piece(piece.language, merged[-1].text + piece.text)
        else:
            merged.append(piece)
    return merged


def _settle(piece: Piece, default: str | None) -> list[Piece]:
    if piece.language == DIGITS:
        return [Piece(default or DIGITS, piece.text)]
    if _ENGLISH.fullmatch(piece.text):
        return [Piece("en", piece.text)]
    if default:
        return [Piece(default, piece.text)]
    parts = [piece]
    for language in ("ja", "ko"):
        parts = [found for part in parts for found in _carve(part, language)]
    return [_chinese_if_hanzi(part) for part in parts]


def _carve(piece: Piece, language: str) -> list[Piece]:
    """The runs of a language's letters inside a piece of another, and what is between."""
    if piece.language == language:
        return [piece]
    parts: list[Piece] = []
    place = 0
    for run in _RUNS[language].finditer(piece.text):
        parts.append(Piece(piece.language, piece.text[place : run.start()]))
        parts.append(Piece(language, run.group()))
        place = run.end()
    parts.append(Piece(piece.language, piece.text[place:]))
    return [part for part in parts if part.text]


def _chinese_if_hanzi(piece: Piece) -> Piece:
    """What no detector knew is Chinese as far as it is hanzi, digits and plain marks."""
    chinese = _NOT_CHINESE.sub("", piece.text) if piece.language == UNKNOWN else ""
    return Piece("zh", chinese) if chinese else piece


def _place_digits(pieces: list[Piece]) -> list[Piece]:
    """Digits speak the language of a neighbour."""
    placed = []
    for index, piece in enumerate(pieces):
        if piece.language == DIGITS:
            before = pieces[index - 1] if index else None
            after = pieces[index + 1] if index + 1 < len(pieces) else None
            piece = Piece(_language_of_digits(piece.text, before, after), piece.text)
        placed.append(piece)
    return placed


def _language_of_digits(digits: str, before: Piece | None, after: Piece | None) -> str:
    if before is None or after is None:
        neighbour = before or after
        return neighbour.language if neighbour else "zh"
    if before.text[-1] in _CLAUSE_MARKS:
        return after.language
    if after.text[0] in _CLAUSE_MARKS or digits[-1] in "。.":
        return before.language
    return before.language if len(before.text) >= len(after.text) else after.language


def _place_unknown(pieces: list[Piece]) -> list[Piece]:
    """What is still unknown speaks as the piece before it, the first one as the second."""
    placed: list[Piece] = []
    for index, piece in enumerate(pieces):
        language = piece.language
        if language == UNKNOWN and placed:
            language = placed[-1].language
        elif language == UNKNOWN:
            language = pieces[index + 1].language if len(pieces) > 1 else "zh"
        placed.append(Piece(language, piece.text))
    return placed
