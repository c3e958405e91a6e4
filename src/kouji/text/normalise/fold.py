"""Fold a text to the plain characters the readers expect, remembering where each came from.

Full-width forms become half-width, accents are taken off Latin letters, ligatures open,
invisible characters go, an emoji sequence becomes its first code point. The folded text
may be longer or shorter than the source: `starts` and `ends` map it back.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from kouji.text.normalise.spoken import Dropped

# NFKC would lose their meaning (x² is not x2, ½ is not 1⁄2): readers know them as they are.
KEPT = frozenset("²³¹⁰⁴⁵⁶⁷⁸⁹⁺⁻½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞℃℉№™®©…Ω，：；？！（）")
LATIN_LETTERS = {
    "ß": "ss", "ẞ": "SS", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O",
    "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th",
    "ı": "i", "ħ": "h", "Ħ": "H", "ŋ": "ng", "Ŋ": "Ng",
}  # fmt: skip
SAME = {
    "’": "'", "‘": "'", "ʼ": "'", "`": "'", "´": "'", "′": "'", "″": '"', "“": '"', "”": '"',
    "„": '"', "‟": '"', "−": "−", "‐": "-", "‑": "-", "‒": "-", "–": "–", "﹣": "-",
    "。": "。", "〇": "零", "￥": "¥", "\t": " ", "\r": "\n", "\v": "\n", "\f": "\n",
    "\x85": "\n", "\u2028": "\n", "\u2029": "\n", "µ": "μ", "Ω": "Ω", "∶": ":", "·": "·",
    "⁄": "/", "∕": "/", "۔": ".", "｡": "。", "∼": "~", "〜": "~", "˜": "~", "º": "°", "˚": "°",
}  # fmt: skip
EMOJI = (
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\u25a0-\u25ff\u2190-\u21ff"
    "\u3030\u303d\u3297\u3299]"
)
TAIL = "[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\u20e3\U000e0020-\U000e007f]*"
SEQUENCE = re.compile(
    "[\U0001f1e6-\U0001f1ff]{2}|[0-9#*]\ufe0f?\u20e3|" + EMOJI + TAIL
    + "(?:\u200d" + EMOJI + TAIL + ")*"
)  # fmt: skip
EMOJI_CHAR = re.compile(EMOJI)
FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{2}")
# What a text copied from a web page carries; other names after & are left as they are.
ENTITY = re.compile(
    r"&(?:lt|gt|amp|quot|apos|nbsp|copy|deg|hellip|mdash|ndash|ldquo|rdquo|lsquo|rsquo|times|yen"
    r"|middot|bull|#\d{1,6}|#[xX][0-9a-fA-F]{1,5});"
)
PLAIN = re.compile(rf"(?:(?!{ENTITY.pattern})[\n -~\u4e00-\u9fff，。、；：？！])+")


@dataclass(frozen=True)
class Folded:
    """`text[i]` stands for source characters `starts[i]` to `ends[i]`."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    dropped: tuple[Dropped, ...]


def fold(source: str) -> Folded:
    """Fold any text, including lone surrogates and unassigned code points; never fails."""
    folded: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    dropped: list[Dropped] = []
    position = 0
    while position < len(source):
        text, end = _next_cluster(source, position)
        if not text.strip() and not source[position:end].isspace():
            is_blank = not text or source[position] == "&"
            reason = "invisible character" if is_blank else "stray accent"
            dropped.append(Dropped(source[position:end], position, end, reason))
        if end - position == len(text) and text == source[position:end]:
            starts.extend(range(position, end))
            ends.extend(range(position + 1, end + 1))
        else:
            starts.extend([position] * len(text))
            ends.extend([end] * len(text))
        folded.append(text)
        position = end
    return Folded("".join(folded), tuple(starts), tuple(ends), tuple(dropped))


def _next_cluster(source: str, position: int) -> tuple[str, int]:
    """The folded form of what begins at `position`, and where that ends in the source."""
    plain = PLAIN.match(source, position)
    if plain:
        end = plain.end()
        if end == len(source):
            return plain.group(), end
        # a mark or key cap after it belongs to its last character
        if end - 1 > position:
            return source[position : end - 1], end - 1
    sequence = SEQUENCE.match(source, position)
    if sequence:
        sign = sequence.group()
        return (sign if FLAG.match(sign) else sign[0]), sequence.end()
    entity = ENTITY.match(source, position)
    if entity:
        return _fold_entity(entity.group()), entity.end()
    if source.startswith("\r\n", position):
        return "\n", position + 2
    end = position + 1
    while end < len(source) and _is_mark(source[end]):
        end += 1
    return _fold_cluster(source[position:end]), end


def _is_mark(char: str) -> bool:
    return unicodedata.combining(char) != 0 or "\ufe00" <= char <= "\ufe0f"


def _fold_cluster(cluster: str) -> str:
    base = cluster[0]
    if base in SAME:
        return SAME[base]
    if base in KEPT or 0x2160 <= ord(base) <= 0x217F or 0x2460 <= ord(base) <= 0x24FF:
        return base
    if base in LATIN_LETTERS:
        return LATIN_LETTERS[base]
    if base == "\u0e51":  # Thai one: in practice the cheek of a face drawn with letters
        return "·"
    if base.isdecimal():  # of any script
        return str(unicodedata.decimal(base))
    if base.isspace():
        return " "
    if unicodedata.category(base) in ("Cc", "Cf") or _is_mark(base):
        return ""
    return "".join(_strip_accent(char) for char in unicodedata.normalize("NFKC", base))


def _fold_entity(entity: str) -> str:
    """&lt; as the sign it stands for, folded like that sign."""
    from html import unescape  # its table of names is large and seldom wanted

    sign = unescape(entity)
    return "".join("" if _is_mark(char) else _fold_cluster(char) for char in sign)


def _strip_accent(char: str) -> str:
    if char in SAME or char in LATIN_LETTERS:
        return SAME.get(char) or LATIN_LETTERS[char]
    bare = unicodedata.normalize("NFD", char)[0]
    return bare if bare.isascii() and bare.isalpha() else char
