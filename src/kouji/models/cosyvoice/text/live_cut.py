"""Where a text that is still being written can be read already: behind clauses and long runs.

A place is decided by what stands before it and the one character behind it, so pieces of any
size give the same places.
"""

from __future__ import annotations

import re
import unicodedata

_WIDE_MARKS = frozenset("，。！？；：、…")
_MARKS = _WIDE_MARKS | frozenset(",.!?;:\n")
_CLOSING = frozenset("\"'”’」』）)》】]>")
_NUMBER_MARKS = frozenset(",.:：、")
_HANZI = re.compile("[\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]")
_SENTENCE_WORD = re.compile(r"(?:^|[^A-Za-z.])[a-z]{3,}\.$|[^A-Za-z\s.]\.$")
_LONG_RUN = 24.0  # characters of Chinese, or four letters each, after which any word may end it
_LONGEST_TAG, _LONGEST_MARK = 60, 200


class ClauseEnds:
    """Finds the end of the clause at the beginning of a growing text; `find` remembers its way."""

    def __init__(self) -> None:
        self._restart()

    def _restart(self) -> None:
        self._place = 0  # decided so far
        self._weight = 0.0
        self._is_heard = False
        self._opened: tuple[str, int] | None = None  # a bracket and where it is
        self._is_escaped = False

    def find(self, text: str) -> int | None:
        """Length of the clause, or None where it may not be whole yet.

        text: from the end of the last clause on; the same as before, and more
        """
        while self._place + 1 < len(text):
            self._step(text)
            if self._opened is None and self._is_heard and self._ends(text, self._place):
                found = self._place
                self._restart()
                return found
        return None

    def _step(self, text: str) -> None:
        """Take one more character in."""
        sign, place = text[self._place], self._place
        self._place += 1
        if self._is_escaped:
            self._is_escaped = False
        elif sign == "\\":
            self._is_escaped = True
        elif sign in "[<":
            self._opened = (sign, place)
            self._is_heard |= sign == "["
        elif self._opened is not None:
            bracket, start = self._opened
            is_over = place - start > (_LONGEST_TAG if bracket == "<" else _LONGEST_MARK)
            if sign == "\n" or sign == {"[": "]", "<": ">"}[bracket] or is_over:
                self._opened = None
        if sign.isalnum():
            self._is_heard = True
            self._weight += 1.0 if _HANZI.match(sign) or sign.isdigit() else 0.25

    def _ends(self, text: str, place: int) -> bool:
        last, following = text[place - 1], text[place]
        if self._is_escaped or unicodedata.combining(following):
            return False
        if following in _MARKS or following in _CLOSING:
            return False
        return self._ends_clause(text, place, following) or (
            self._weight >= _LONG_RUN and _is_between_words(last, following)
        )

    def _ends_clause(self, text: str, place: int, following: str) -> bool:
        at = place - 1
        while at > 0 and text[at] in _CLOSING:
            at -= 1
        mark = text[at]
        if mark not in _MARKS:
            return False
        if mark in _NUMBER_MARKS and at > 0 and text[at - 1].isdigit():
            return False
        if mark == "\n":
            return not following.isspace() and not following.islower()
        if mark in _WIDE_MARKS:
            return True
        is_apart = following.isspace() or _HANZI.match(following) is not None
        if mark == "." and not _SENTENCE_WORD.search(text[max(0, at - 40) : at + 1]):
            return False
        return is_apart


def _is_between_words(last: str, following: str) -> bool:
    if _HANZI.match(last) and _HANZI.match(following):
        return True
    return last.isalpha() and following == " "
