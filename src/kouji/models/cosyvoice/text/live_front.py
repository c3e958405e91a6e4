"""Text that is still being written, as ids of the language model as soon as they are certain.

A clause is read once it is whole, by the rules of `front`; how the text was cut into pieces on
its way changes nothing. Scopes such as <laughter> may reach over clauses.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from kouji.errors import MarkError, TextError
from kouji.models.cosyvoice.conditioning import Mode
from kouji.models.cosyvoice.text.front import (
    MAX_TEXT_CHARACTERS,
    Front,
    atoms_of,
    moved,
    nothing_to_speak,
)
from kouji.models.cosyvoice.text.languages import CANTONESE, check_language, guess_language
from kouji.models.cosyvoice.text.live_cut import ClauseEnds
from kouji.models.cosyvoice.text.prompt_text import MAX_PASTED_CHARACTERS, SYSTEM, bare_instruction
from kouji.models.cosyvoice.text.special_tokens import END_OF_PROMPT
from kouji.models.cosyvoice.text.spelling import Sign
from kouji.models.cosyvoice.text.text_marks import (
    MarkedText,
    ends_openly,
    read_marks,
    replace_unreadable,
    stop_of,
)
from kouji.text.style import Style

_SCOPE = re.compile(r"\\.|<(/?)(strong|laughter)>")
_SSML = "<speak"


class LiveFront:
    """One text in one voice; `feed` it pieces, `close` it at the end. For one thread.

    prompt_text: ids that stand before the text
    mode:        see `conditioning.Mode`
    warnings:    so far
    """

    def __init__(
        self,
        front: Front,
        *,
        transcript: str | None = None,
        language: str | None = None,
        transcript_language: str | None = None,
        style: Style | None = None,
        is_fixed_speaker: bool = False,
        mode: Mode | None = None,
    ) -> None:
        """Begin; arguments and errors as of `Front.prepare`."""
        setting = front.settle(
            "",
            transcript=transcript,
            language=language,
            transcript_language=transcript_language,
            style=style,
            is_fixed_speaker=is_fixed_speaker,
            mode=mode,
        )
        self._front = front
        placed = setting.around
        self.prompt_text = tuple(front.encode([*placed.prompt, *placed.prefix]))
        self.mode: Mode = setting.mode
        self.warnings: list[str] = list(setting.warnings)
        named = check_language(language)
        self._named = "zh" if named == CANTONESE else named
        self._language = setting.language
        self._buffer = ""  # not read yet
        self._offset = 0  # of the buffer in the text
        self._is_head = True  # system words may still be pasted here
        self._is_closed = self._is_heard = self._is_open_end = False
        self._ends = ClauseEnds()
        self._written_scopes: list[str] = []  # open in the text
        self._told_scopes: list[str] = []  # open in the ids

    @property
    def unread(self) -> str:
        """What was fed and is not certain yet."""
        return self._buffer

    def feed(self, piece: str) -> list[int]:
        """Take a piece; ids that are certain now.

        raises: MarkError and TextError as `Front.prepare`; nothing more may be fed then
        """
        assert not self._is_closed, "the text was closed"
        self._buffer += replace_unreadable(piece)
        if self._offset + len(self._buffer) > MAX_TEXT_CHARACTERS:
            raise TextError(
                "the text is too long",
                seen=f"more than {MAX_TEXT_CHARACTERS} characters",
                allowed=f"up to {MAX_TEXT_CHARACTERS}",
                cure="begin a new one",
            )
        if self._front.is_compat:
            return self._official()
        if self._is_head and not self._take_head():
            return []
        ids: list[int] = []
        while (end := self._ends.find(self._buffer)) is not None:
            ids += self._read(end)
        return ids

    def close(self) -> list[int]:
        """The ids of the rest; TextError where nothing in the whole text has a sound."""
        assert not self._is_closed, "the text was closed"
        if self._front.is_compat:
            ids = self._official()
        else:
            self._is_closed = True
            if self._is_head:
                self._take_head()
            ids = self._read_rest()
        self._is_closed = True
        if not self._is_heard:
            raise nothing_to_speak(self._buffer)
        return ids

    def _official(self) -> list[int]:
        """Pieces as they come, as the official code takes a generator."""
        piece, self._buffer = self._buffer, ""
        self._offset += len(piece)
        self._is_heard |= bool(piece.strip())
        return self._front.tokenizer.encode(piece)

    def _take_head(self) -> bool:
        """Drop blanks and pasted system words; False while more text may tell of any."""
        text = self._buffer.lstrip()
        reach = MAX_PASTED_CHARACTERS + len(END_OF_PROMPT)
        end = text.find(END_OF_PROMPT, 0, reach) if text.startswith(SYSTEM) else -1
        if not self._is_closed and end < 0:
            may_be_system = SYSTEM.startswith(text) or text.startswith(SYSTEM)
            if may_be_system and len(text) < reach:
                return False
            if _SSML.startswith(text) or text.startswith(_SSML):
                return False  # a document is read when it is whole
        if end >= 0:
            if instruction := bare_instruction(text[:end]):
                self._warn([f"an instruction comes with the request; left out: {instruction}"])
            text = text[end + len(END_OF_PROMPT) :].lstrip()
        self._drop(len(self._buffer) - len(text))
        self._is_head = False
        return True

    def _drop(self, count: int) -> None:
        self._buffer = self._buffer[count:]
        self._offset += count

    def _read_rest(self) -> list[int]:
        ids: list[int] = []
        while (end := self._ends.find(self._buffer)) is not None:
            ids += self._read(end)
        self._buffer = self._buffer.rstrip()
        ids += self._read(len(self._buffer)) if self._buffer else []
        if self._is_open_end:
            stop = Sign(stop_of(self._language), 0)
            ids += self._front.encode(atoms_of([stop]))
        return ids + self._front.encode(atoms_of(list(self._change_scopes([]))))

    def _read(self, end: int) -> list[int]:
        """The ids of the first characters of the buffer, a clause."""
        clause = self._buffer[:end]
        marked = self._marked(clause)
        self._drop(end)
        self._warn(marked.warnings)
        signs: list[Sign] = []
        for stretch in marked.stretches:
            self._is_heard |= stretch.is_heard
            signs += self._rescoped(stretch.signs)
            if stretch.pause_seconds:
                self._warn(["a pause in a text that is being written is spoken as a comma"])
                signs = [*signs[:-1], *(sign for sign in signs[-1:] if sign.text != " ")]
                signs.append(Sign("，" if self._language in ("zh", "ja") else ",", 0))
        if any(not sign.is_token or sign.text[0] == "[" for sign in signs):
            self._is_open_end = ends_openly(signs)
        return self._front.encode(atoms_of(signs))

    def _marked(self, clause: str) -> MarkedText:
        """A clause read with the scopes that are open around it."""
        before = "".join(f"<{name}>" for name in self._written_scopes)
        self._follow_scopes(clause)
        after = "".join(f"</{name}>" for name in reversed(self._written_scopes))
        self._language = self._named or guess_language(clause, default=self._language)
        try:
            return read_marks(before + clause + after, self._language, self._front.known)
        except MarkError as error:
            raise moved(error, self._offset - len(before)) from None

    def _follow_scopes(self, clause: str) -> None:
        for match in _SCOPE.finditer(clause):
            if match[2] and not match[1]:
                self._written_scopes.append(match[2])
            elif match[2] and self._written_scopes[-1:] == [match[2]]:
                self._written_scopes.pop()

    def _rescoped(self, signs: Iterable[Sign]) -> Iterable[Sign]:
        """Signs with scopes opened and closed against what was told before."""
        wanted: list[str] = []
        for sign in signs:
            if sign.is_token and sign.text.startswith("</"):
                wanted.pop()
            elif sign.is_token and sign.text.startswith("<"):
                wanted.append(sign.text[1:-1])
            else:
                yield from self._change_scopes(wanted)
                yield sign

    def _change_scopes(self, wanted: list[str]) -> Iterable[Sign]:
        while self._told_scopes != wanted[: len(self._told_scopes)]:
            yield Sign(f"</{self._told_scopes.pop()}>", 0, True)
        for name in wanted[len(self._told_scopes) :]:
            self._told_scopes.append(name)
            yield Sign(f"<{name}>", 0, True)

    def _warn(self, warnings: Iterable[str]) -> None:
        self.warnings += (each for each in warnings if each not in self.warnings)
