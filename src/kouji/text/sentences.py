"""Text that comes in pieces, given out by sentences as soon as each is complete.

A piece may end anywhere: within a word, a mark, even a character of two halves. Nothing is lost
or added: what comes out, joined, is what came in. Knows letters; what the marks mean is for the
front end to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_CHARACTERS = 400  # of a sentence that does not end; then a comma or a blank will do
_SURE_ENDS = "。！？\n"
_ENDS = "!?…"
_CLOSERS = "\"'”’»)）】》」』"
_CLAUSES = re.compile(r"[,;:，；：、]\s*|\s+")
_ABBREVIATIONS = frozenset(
    "mr mrs ms dr prof st no vs etc e.g i.e u.s a.m p.m jr sr inc ltd fig vol approx dept".split()
)
_HIGH, _LOW = "\ud800", "\udc00"
_TAG = re.compile(r"</?([a-z][a-z-]*)(?![a-z-])[^<>]*?(/?)>", re.IGNORECASE)
_AFTER = re.compile(r"[\"'”’)\]]*\s+(\S)")  # an end of a sentence: closing quotes, then a word


class SentenceBuffer:
    """The part of a text that is not yet a whole sentence."""

    def __init__(self, *, cuts_behind: bool = False) -> None:
        """Begin without text.

        cuts_behind: a sentence that does not end is cut at the first place behind MAX_CHARACTERS,
                     not at the last one before: what lies in `rest` then never belongs to two
        """
        self._text, self._half, self._cuts_behind = "", "", cuts_behind

    @property
    def rest(self) -> str:
        """What has come of the sentence that is not whole yet."""
        return self._text

    def add(self, piece: str) -> list[str]:
        """Take a piece; the sentences that are complete now, in order."""
        text = self._half + piece
        # Half of a character waits for the other, which some clients send in the next message.
        self._half = text[-1:] if _HIGH <= text[-1:] < _LOW else ""
        self._text += _joined(text[: len(text) - len(self._half)])
        sentences = []
        while end := self._end():
            sentences.append(self._text[:end])
            self._text = self._text[end:]
        return sentences

    def flush(self) -> str:
        """Whatever is left, complete or not; then the buffer is empty."""
        rest, self._text, self._half = self._text + _joined(self._half), "", ""
        return rest

    def _end(self) -> int:
        """Where the first sentence ends that has something to say; 0 where none is complete."""
        text = self._text
        if "<speak".startswith(text.lstrip()[:6]) and text.strip():
            return 0  # SSML is one document
        closed: list[bool] = []
        has_sound = False
        for place, is_outside in enumerate(_outside_marks(text)):
            closed.append(is_outside)
            has_sound = has_sound or text[place].isalnum()
            if is_outside and has_sound and _ends_here(text, place, text[place]):
                end = _behind(text, place + 1)
                if end < len(text) or text[end - 1] in _SURE_ENDS:
                    # Where a long sentence is cut must not hang on how much came at once.
                    cut = self._forced(closed) if end > MAX_CHARACTERS else 0
                    return min(cut, end) if cut else end
        return self._forced(closed) if len(text) > MAX_CHARACTERS else 0

    def _forced(self, closed: list[bool]) -> int:
        """Where to cut a sentence that is too long; 0 where only a mark could be cut through.

        closed: of its first characters, whether they may be cut behind
        """
        found = [each for each in _CLAUSES.finditer(self._text) if each.start() < len(closed)]
        # A blank at the end may have others behind it.
        ends = [
            each.end() for each in found if closed[each.start()] and each.end() < len(self._text)
        ]
        early = [end for end in ends if end <= MAX_CHARACTERS and not self._cuts_behind]
        return max(early, default=next((end for end in ends if end > MAX_CHARACTERS), 0))


def _ends_here(text: str, place: int, char: str) -> bool:
    if char in _SURE_ENDS or char in _ENDS:
        return True
    after = _AFTER.match(text, place + 1) if char == "." else None
    if after is None:
        return False
    before = _word_before(text, place).lstrip("(\"'“‘[").lower()
    is_short = before in _ABBREVIATIONS or re.fullmatch(r"[^\W\d_](\.[^\W\d_])*", before)
    is_number = before.isdigit() and text[:place].strip() == before  # "1. First" is no sentence
    return not (is_short or is_number or after.group(1).islower())


def _word_before(text: str, place: int) -> str:
    """What stands before a place without a blank; searching for it would take much longer."""
    start = place
    while start and not text[start - 1].isspace():
        start -= 1
    return text[start:place]


def _behind(text: str, place: int) -> int:
    """Past further end marks, closing quotes and blanks."""
    while place < len(text) and (
        text[place] in _CLOSERS or text[place] in _ENDS or text[place] in _SURE_ENDS
    ):
        place += 1
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _outside_marks(text: str) -> Iterator[bool]:
    """For each character, whether it stands in no bracket mark, tag, or stretch between tags.

    One after the other, since most of a long text is looked at again behind its first sentence.
    """
    depth, place, open_tags = 0, 0, 0
    while place < len(text):
        char = text[place]
        if char == "\\":
            yield from [not (depth or open_tags)] * len(text[place : place + 2])
            place += 2
            continue
        tag = _TAG.match(text, place) if char == "<" else None
        if tag is not None:
            is_end = tag.group().startswith("</")
            if not tag.group(2):
                open_tags = max(0, open_tags + (-1 if is_end else 1))
            yield from [False] * (tag.end() - place)
            place = tag.end()
            continue
        if char == "<" and re.match(r"<[/a-z]", text[place : place + 2] or "<a", re.IGNORECASE):
            yield from [False] * (len(text) - place)  # a tag that is not all there yet
            return
        depth = max(0, depth + (char == "[") - (char == "]"))
        yield depth == 0 and open_tags == 0 and char != "]"
        place += 1


def _joined(text: str) -> str:
    """Two halves of a character as one; a half alone becomes a replacement character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
