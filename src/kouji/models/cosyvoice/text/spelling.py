"""Written text into the characters the language model reads: as it stands, numbers as words.

Chinese and English go through `kouji.text.normalise`; of its reading only what differs from the
writing is taken, so that case, accents and punctuation stay. Other languages are only cleaned:
digits stay, since nobody here can read them. Every character knows where it came from.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from kouji.text.language import is_hanzi
from kouji.text.normalise import SILENT, Dropped, Spoken, normalise
from kouji.types import Language

_SPELLED = {"zh", "en"}
_MARKS = frozenset("，。！？；：、…,.!?;:~～")
_QUOTES = frozenset("\"'“”‘’「」『』《》〈〉«»‹›")
_KEPT_SILENT = _QUOTES | frozenset("-‐‑·・")
_PAUSE = {
    "zh": {",": "，", ".": "。", "?": "？", "!": "！"},
    "en": {",": ",", ".": ".", "?": "?", "!": "!"},
}
# Scripts of the languages CosyVoice speaks, by the first word of their characters' names.
_SCRIPTS = frozenset({"Hiragana", "Katakana", "Hangul", "Cyrillic", "Latin", "Cjk"})
_MAX_REPEATS = 3  # of one mark, as in "。。。。。。"
_WIDE = re.compile("[\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uff00-\uffef\U00020000-\U0003ffff]")
_NOT_SPEECH = frozenset({"So", "Sk", "Co", "Cn", "Cs", "Cc", "Cf"})
_JOINERS = frozenset("\u200c\u200d\ufe0e\ufe0f")  # of emoji, which are named themselves


class Sign(NamedTuple):
    """One character to be read, or a special token; `start` is where in the source it is from."""

    text: str
    start: int
    is_token: bool = False


class Spelled(NamedTuple):
    """A stretch as it is read, and what of it is not, by reason."""

    signs: list[Sign]
    dropped: dict[str, list[str]]


def spell(text: str, language: str) -> Spelled:
    """A stretch of plain text as the language model is to read it.

    language: one of `languages.LANGUAGES`; "zh" and "en" also tell how numbers are read where
              no word stands near
    returns:  blanks at either end stay, as one
    """
    if language not in _SPELLED:
        return _clean(text)
    speller = _Speller(text, language)
    speller.run()
    return Spelled(_tidy(speller.signs), speller.dropped)


class _Speller:
    """One walk over the reading of one stretch."""

    def __init__(self, text: str, language: str) -> None:
        self._text, self._language = text, language
        self.signs: list[Sign] = []
        self.dropped: dict[str, list[str]] = {}
        self._end = 0  # of what was copied or replaced
        self._is_new = False  # the last word is not as written

    def run(self) -> None:
        language: Language = "zh" if self._language == "zh" else "en"
        read = normalise(self._text, language=language)
        groups = [list(group) for _, group in groupby(read.items, lambda i: (i.start, i.end))]
        places: list[tuple[int, list[Spoken] | Dropped]] = []
        places += [(group[0].start, group) for group in groups]
        places += [(drop.start, drop) for drop in read.dropped]
        places.sort(key=_place)
        for start, part in places:
            if start >= self._end:
                self._blank(self._text[self._end : start], self._end)
            if isinstance(part, list):
                self._take(part)
            elif part.reason == SILENT or _is_spoken_script(part.reason):
                if start >= self._end:
                    self._silent(part.text, start)
            else:
                self.dropped.setdefault(part.reason, []).append(part.text)
                self._end = max(self._end, part.end)
        self._blank(self._text[self._end :], self._end)

    def _take(self, group: list[Spoken]) -> None:
        start, end = group[0].start, group[-1].end
        source = self._text[max(start, self._end) : end]
        if group[0].kind == "pause":
            self._pause(source, group[-1], start)
        else:
            reading = _joined(group)
            if _is_same(source, reading):
                self._add(source, start, is_new=False)
            else:
                self._add(reading, start, is_new=True)
        self._end = max(self._end, end)

    def _add(self, text: str, start: int, *, is_new: bool) -> None:
        """Copy `text` if it is the source's own; readings get a blank to Latin neighbours."""
        if self.signs and text and (is_new or self._is_new):
            last = self.signs[-1].text
            if _is_latin(last) and _is_latin(text[0]):
                self.signs.append(Sign(" ", start))
        self._is_new = is_new
        step = 0 if is_new else 1
        self.signs += (Sign(sign, start + step * place) for place, sign in enumerate(text))

    def _pause(self, source: str, pause: Spoken, start: int) -> None:
        kept = "".join(sign for sign in source if sign in _MARKS or sign in _QUOTES)
        if kept and all(sign in _QUOTES for sign in kept):
            kept += " " if source[-1:].isspace() else ""
        elif not any(sign in _MARKS for sign in kept):
            language = "zh" if pause.language == "zh" else "en"
            mark = _PAUSE[language][pause.text]
            kept = mark if language == "zh" else mark + " "
        elif "\n" in source:
            kept += " "
        self.signs += (Sign(sign, start) for sign in kept)
        self._is_new = False

    def _silent(self, text: str, start: int) -> None:
        if text.isalpha() or unicodedata.category(text[0])[0] == "M":
            self._add(text, start, is_new=False)
        else:
            self.signs += (
                Sign(sign, start + place) for place, sign in enumerate(text) if sign in _KEPT_SILENT
            )
        self._end = max(self._end, start + len(text))

    def _blank(self, text: str, start: int) -> None:
        if text.isspace():
            self.signs.append(Sign(" ", start))
            self._is_new = False


def _place(part: tuple[int, object]) -> int:
    return part[0]


def _joined(group: Sequence[Spoken]) -> str:
    """The reading of one token of the source: hanzi run on, words are parted by blanks."""
    said = ""
    for item in group:
        word = _PAUSE["zh" if item.language == "zh" else "en"].get(item.text, item.text)
        if said and (_is_latin(said[-1]) or said[-1] in ",.?!") and _is_latin(word[0]):
            said += " "
        said += word
    return said


def _is_same(source: str, reading: str) -> bool:
    """True where the writing already says it: in other capitals, with accents, letters joined."""
    if any(sign.isdigit() for sign in source):
        return source == reading
    return _bare(source) == _bare(reading)


def _bare(text: str) -> str:
    folded = unicodedata.normalize("NFD", text.casefold().replace("’", "'"))
    return "".join(sign for sign in folded if sign.isalnum())


def _is_latin(sign: str) -> bool:
    return sign.isalnum() and not is_hanzi(sign) and not _WIDE.match(sign)


def _is_spoken_script(reason: str) -> bool:
    script = reason.removeprefix("unsupported script: ")
    return script in _SCRIPTS


def _clean(text: str) -> Spelled:
    """Text of another language: as it is, without what has no sound in any."""
    signs: list[Sign] = []
    dropped: dict[str, list[str]] = {}
    for place, sign in enumerate(text):
        category = unicodedata.category(sign)
        if sign.isspace():
            signs.append(Sign(" ", place))
        elif sign in _JOINERS:
            continue
        elif category in _NOT_SPEECH:
            dropped.setdefault("not speech", []).append(sign)
        else:
            signs.append(Sign(sign, place))
    return Spelled(_tidy(signs, is_spaced=True), dropped)


def _tidy(signs: list[Sign], *, is_spaced: bool = False) -> list[Sign]:
    """One blank at most, none beside hanzi and wide marks or before a mark, few equal marks.

    is_spaced: where one blank stands it stays, as between the words of katakana
    """
    result: list[Sign] = []
    for place, sign in enumerate(signs):
        if sign.text == " " and result and result[-1].text == " ":
            continue
        following = next(_after(signs, place), "")
        before = result[-1].text if result else ""
        if sign.text == " " and not is_spaced and _is_needless(before, following):
            continue
        tail = [each.text for each in result[-_MAX_REPEATS:]]
        if sign.text in _MARKS and tail == [sign.text] * _MAX_REPEATS:
            continue
        result.append(sign)
    return result


def _is_needless(before: str, following: str) -> bool:
    """A blank between these neighbours; either may be the end of the stretch."""
    wide = (_WIDE.match(before) is not None, _WIDE.match(following) is not None)
    is_korean = "\uac00" <= before <= "\ud7a3" or "\uac00" <= following <= "\ud7a3"
    return (any(wide) and not is_korean) or (
        following != "" and following in ",.!?;:，。！？；：、"
    )


def _after(signs: Sequence[Sign], place: int) -> Iterator[str]:
    for sign in signs[place + 1 : place + 40]:
        if sign.text != " ":
            yield sign.text
