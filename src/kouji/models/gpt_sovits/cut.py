"""A text into the segments GPT-SoVITS speaks one by one, as its official front end cuts them.

Knows marks and lengths, no language. The official methods lose or misplace some marks; with
`compat=False` they do not. Every method exists under the name users know it by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from kouji.errors import TextError, UsageError
from kouji.models.gpt_sovits.symbols import PUNCTUATION

METHODS = ("cut0", "cut1", "cut2", "cut3", "cut4", "cut5")
MAX_CHARACTERS = 510  # of a segment: BERT reads 512 tokens, two of them its own
SPLITS = frozenset("，。？！,.?!~:：—…")

_MIN_CHARACTERS = 5  # shorter pieces are joined to the next
_MIN_OPENING = 4  # a shorter first clause gets a mark before it, else it tends to be swallowed
_SENTENCES_PER_GROUP = 4
_GROUP_CHARACTERS = 50
_SILENT = frozenset((*PUNCTUATION, " "))
_CLAUSE_MARKS = frozenset(",.;?!、，。？！：…")
_AFTER_SPLIT = re.compile(f"(?<=[{''.join(sorted(SPLITS))}])")
_SPLIT_CHARACTER = re.compile(f"([{''.join(sorted(SPLITS))}])")
_FULL_STOP = re.compile(r"(?<!\d)\.(?!\d)")
_SPOKEN = re.compile("[\\w\ue000-\uf8ff]")  # callers put sounds of their own on private signs
_PUNCTUATION_RUN = re.compile(r"([!?…,.\-])[!?…,.\-]+")


def collapse_punctuation(text: str) -> str:
    """Runs of the marks ! ? … , . - become their first one."""
    return _PUNCTUATION_RUN.sub(r"\1", text)


def cut(text: str, method: str, *, compat: bool = True) -> str:
    """The text with a line break at every place where `method` cuts.

    method: cut0 nowhere, cut1 every 4 clauses, cut2 about every 50 characters, cut3 at 。,
            cut4 at full stops, cut5 at every mark
    compat: as the official code cuts: cut1 lets the last group run on to 8 clauses, and cut3
            and cut4 drop the marks they cut at
    raises: UsageError for another method
    """
    check_method(method)
    text = text.strip("\n")
    if method == "cut0":
        return "\n" if set(text) <= _SILENT else text
    if method == "cut2" and len(_clauses(text)) < 2:
        return text
    pieces = (_OFFICIAL if compat else _LOSSLESS)[method](text)
    silent = _CLAUSE_MARKS if method == "cut5" else _SILENT
    return "\n".join(piece for piece in pieces if not set(piece) <= silent)


def check_method(method: str) -> None:
    """UsageError for what is not one of METHODS."""
    if method not in METHODS:
        raise UsageError("unknown cutting method", seen=method, allowed=", ".join(METHODS))


def pre_segment(text: str, language: str, method: str, *, compat: bool = True) -> list[str]:
    """The segments of a text, each of at most MAX_CHARACTERS and with a mark at its end.

    language: of the caller's request; "en" gets a full stop where others get 。
    compat:   as in `cut`; also leaves a stretch without marks longer than MAX_CHARACTERS whole
    returns:  may be empty, when all pieces are marks
    raises:   TextError when the method leaves nothing at all
    """
    text = text.strip("\n")
    if not text:
        return []
    stop = "." if language == "en" else "。"
    if text[0] not in SPLITS and len(_SPLIT_CHARACTER.split(text)[0].strip()) < _MIN_OPENING:
        text = stop + text
    lines = re.sub("\n+", "\n", cut(text, method, compat=compat)).split("\n")
    lines = [line for line in lines if line not in ("", " ")]
    if not lines:
        raise TextError("nothing to speak in the text", seen=text, cure="give it a word")
    segments = []
    for piece in merge_short(lines, _MIN_CHARACTERS):
        if not _SPOKEN.search(piece):
            continue
        piece = piece if piece[-1] in SPLITS else piece + stop
        segments += split_long(piece, hard=not compat) if len(piece) > MAX_CHARACTERS else [piece]
    return segments


def close(text: str, language: str) -> str:
    """What a reference says, with a mark at its end."""
    text = text.strip("\n")
    is_open = bool(text) and text[-1] not in SPLITS
    return text + ("." if language == "en" else "。") if is_open else text


def merge_short(pieces: list[str], threshold: int) -> list[str]:
    """Pieces joined until each has `threshold` characters; what is left over joins the last."""
    if len(pieces) < 2:
        return pieces
    merged: list[str] = []
    open_piece = ""
    for piece in pieces:
        open_piece += piece
        if len(open_piece) >= threshold:
            merged.append(open_piece)
            open_piece = ""
    if open_piece:
        merged[-1:] = [merged[-1] + open_piece] if merged else [open_piece]
    return merged


def split_long(text: str, *, hard: bool, limit: int = MAX_CHARACTERS) -> list[str]:
    """Pieces of at most `limit` characters, cut at marks.

    hard: cut a longer stretch without marks too, at the limit
    """
    pieces, piece = [], ""
    for part in _SPLIT_CHARACTER.split(text):
        if len(piece) + len(part) > limit:
            pieces.append(piece)
            piece = ""
        piece += part
        while hard and len(piece) > limit:
            pieces.append(piece[:limit])
            piece = piece[limit:]
    return [piece for piece in (*pieces, piece) if piece]


def _clauses(text: str) -> list[str]:
    """Every mark ends a clause; a double ellipsis is a stop and a dash a comma."""
    text = text.replace("……", "。").replace("——", "，")
    if not text or text[-1] not in SPLITS:
        text += "。"
    return [clause for clause in _AFTER_SPLIT.split(text) if clause]


def _by_four(text: str) -> list[str]:
    clauses = _clauses(text)
    groups = range(0, len(clauses), _SENTENCES_PER_GROUP)
    return ["".join(clauses[start : start + _SENTENCES_PER_GROUP]) for start in groups]


def _by_four_official(text: str) -> list[str]:
    """The official code loses the start of the last group: it ends the group before it."""
    groups = _by_four(text)
    if len(groups) < 2:
        return [text]
    return [*groups[:-2], groups[-2] + groups[-1]]


def _by_length(text: str) -> list[str]:
    groups = [""]
    for clause in _clauses(text):
        groups[-1] += clause
        if len(groups[-1]) > _GROUP_CHARACTERS:
            groups.append("")
    if not groups[-1]:
        groups.pop()
    if len(groups) > 1 and len(groups[-1]) < _GROUP_CHARACTERS:
        last = groups.pop()
        groups[-1] += last
    return groups


def _at_chinese_stops(text: str) -> list[str]:
    return _kept(re.split("(?<=。)(?!。)", text))


def _at_chinese_stops_official(text: str) -> list[str]:
    return text.strip("。").split("。")


def _at_full_stops(text: str) -> list[str]:
    return _kept(re.split(r"(?<=[^\d.]\.)(?![\d.])", text))


def _at_full_stops_official(text: str) -> list[str]:
    return _FULL_STOP.split(text.strip("."))


def _kept(pieces: Iterable[str]) -> list[str]:
    return [piece for piece in pieces if piece]


def _at_every_mark(text: str) -> list[str]:
    pieces = [""]
    for index, sign in enumerate(text):
        pieces[-1] += sign
        is_decimal = sign == "." and text[index - 1 : index].isdigit()
        is_decimal = is_decimal and text[index + 1 : index + 2].isdigit()
        if sign in _CLAUSE_MARKS and not is_decimal:
            pieces.append("")
    return _kept(pieces)


_Cutter = dict[str, Callable[[str], list[str]]]

_LOSSLESS: _Cutter = {
    "cut1": _by_four,
    "cut2": _by_length,
    "cut3": _at_chinese_stops,
    "cut4": _at_full_stops,
    "cut5": _at_every_mark,
}
_OFFICIAL: _Cutter = _LOSSLESS | {
    "cut1": _by_four_official,
    "cut3": _at_chinese_stops_official,
    "cut4": _at_full_stops_official,
}
