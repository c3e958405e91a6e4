"""From pieces of marked text to units with phones: the inner half of the front end.

Gathers hanzi into stretches without pause and English words into sentences, since tones and
parts of speech depend on neighbours. Knows nothing of segments or models.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from kouji.text.g2p import chinese, english, pos
from kouji.text.g2p.arpabet import is_vowel
from kouji.text.g2p.neighbours import sounds_by_neighbours
from kouji.text.markup import Break, Phonetic, Piece, Plain
from kouji.text.normalise import SILENT, Spoken, normalise
from kouji.text.phones import STRESS_OFFSET, Phone
from kouji.text.units import Pause, Prosody, Unit, Word
from kouji.types import Language

MAX_LETTERS = 40  # a longer run of letters is no word: it is read in parts
MAX_WORD_PHONES = 60
_THEE = Phone("IY", STRESS_OFFSET)
_STRENGTH = {",": 0, ".": 1, "?": 2, "!": 3}
_HANZI = re.compile(r"[\u3400-\u9fff]")
_WORDY = re.compile(r"[A-Za-z\u3400-\u9fff]")
MAX_CONTEXT_WORDS = 200  # a text without full stops is tagged in parts


class _Hanzi(NamedTuple):
    """One character of a stretch, or a syllable given by its sound."""

    character: str
    start: int
    end: int
    prosody: Prosody
    phones: tuple[Phone, ...] | None
    text: str | None  # how a given syllable was written


class Composer:
    """Takes pieces in order and returns units; one instance a text."""

    def __init__(self, text: str, language: Language | None) -> None:
        self._text, self._language = text, language
        self._last: Language = language or ("zh" if _HANZI.search(text) else "en")
        self._units: list[Unit] = []
        self._stretch: list[_Hanzi] = []
        self._sentence: list[tuple[int, str]] = []  # (index of unit, word in its own case)
        self._dropped: dict[str, list[str]] = {}

    def add(self, piece: Piece) -> None:
        """Take the next piece of the text."""
        if isinstance(piece, Plain):
            self._plain(piece)
        elif isinstance(piece, Phonetic):
            self._phonetic(piece)
        elif isinstance(piece, Break):
            self._break(piece)
        else:
            self._end_stretch()
            self._units.append(piece)

    def finish(self) -> tuple[list[Unit], list[str]]:
        """All units, and one warning a kind of characters that could not be spoken."""
        self._end_stretch()
        self._end_sentence()
        warnings = [
            f"{len(''.join(lost))} characters not spoken ({reason}), the first {lost[0][:1]!r}"
            for reason, lost in self._dropped.items()
        ]
        return _merge(_the_before_vowels(_trim(self._units))), warnings

    def _plain(self, piece: Plain) -> None:
        if piece.say_as == "letters":
            for match in re.finditer(r"\S+", piece.text):
                self._token(piece, match)
            return
        language = piece.language or self._language
        if language is None and not _WORDY.search(piece.text):
            language = self._last
        normalised = normalise(piece.text, language=language)
        for item in normalised.items:
            self._item(item, piece)
        for drop in normalised.dropped:
            if drop.reason != SILENT:
                self._dropped.setdefault(drop.reason, []).append(drop.text)

    def _token(self, piece: Plain, match: re.Match[str]) -> None:
        """One sign of a spelled content: letters are named, digits are already words."""
        token = match.group()
        if len(token) == 1 and token.isascii() and token.isalpha():
            start, end = piece.span(*match.span())
            self._english(token, start, end, "letters", piece.prosody)
        else:
            cut = slice(*match.span())
            part = replace(
                piece, text=token, starts=piece.starts[cut], ends=piece.ends[cut], say_as=None
            )
            self._plain(part)

    def _item(self, item: Spoken, piece: Plain) -> None:
        start, end = piece.span(item.start, item.end)
        if item.kind == "pause":
            self._pause(Pause(item.text, None, start, end))
        elif item.language == "zh" and item.kind == "word":
            self._last = "zh"
            is_plain = piece.text[item.start : item.end] == item.text
            for offset, character in enumerate(item.text):
                place = item.start + offset
                span = piece.span(place, place + 1) if is_plain else (start, end)
                self._stretch.append(_Hanzi(character, *span, piece.prosody, None, None))
        else:
            self._english(item.text, start, end, item.kind, piece.prosody)

    def _english(self, text: str, start: int, end: int, kind: str, prosody: Prosody) -> None:
        self._end_stretch()
        self._last = "en"
        for offset in range(0, len(text), MAX_LETTERS):
            part = text[offset : offset + MAX_LETTERS]
            span = (
                (start + offset, start + offset + len(part))
                if end - start == len(text)
                else (start, end)
            )
            phones = english.spell(part) if kind == "letters" else english.word_to_phones(part)
            if not phones:
                continue
            source = self._text[span[0] : span[1]]
            cased = source if source.lower() == part.lower() else part
            self._sentence.append((len(self._units), cased))
            self._units.append(Word(source, part, *span, "en", phones, prosody))
        if len(self._sentence) >= MAX_CONTEXT_WORDS:
            self._end_sentence()

    def _phonetic(self, piece: Phonetic) -> None:
        self._last = piece.language
        if piece.language == "zh":
            written = piece.text.split()
            if len(written) != len(piece.syllables):
                written = [piece.text] * len(piece.syllables)
            for text, phones in zip(written, piece.syllables, strict=True):
                span = (piece.start, piece.end)
                hanzi = _Hanzi(chinese.FIXED, *span, piece.prosody, phones, text)
                self._stretch.append(hanzi)
            return
        self._end_stretch()
        phones = tuple(phone for syllable in piece.syllables for phone in syllable)
        word = Word(piece.text, piece.text, piece.start, piece.end, "en", phones, piece.prosody)
        self._units.append(word)

    def _break(self, piece: Break) -> None:
        mark = "." if piece.seconds is None else ","
        self._pause(Pause(mark, piece.seconds, piece.start, piece.end))

    def _pause(self, pause: Pause) -> None:
        """Add a pause; neighbours become one: the stronger mark, the times asked for."""
        self._end_stretch()
        if pause.mark != ",":
            self._end_sentence()
        previous = self._units[-1] if self._units else None
        if isinstance(previous, Pause):
            self._units.pop()
            times = [
                seconds for seconds in (previous.seconds, pause.seconds) if seconds is not None
            ]
            pause = Pause(
                max(previous.mark, pause.mark, key=_STRENGTH.__getitem__),
                sum(times) if times else None,
                previous.start,
                pause.end,
            )
        self._units.append(pause)

    def _end_stretch(self) -> None:
        """Read the hanzi gathered so far; a word is cut where its prosody changes."""
        stretch, self._stretch = self._stretch, []
        if not stretch:
            return
        given = {
            index: item.phones for index, item in enumerate(stretch) if item.phones is not None
        }
        text = "".join(item.character for item in stretch)
        for word in chinese.read_stretch(text, given):
            begin = word.start
            for place in range(word.start + 1, word.end + 1):
                if place == word.end or _parts_here(stretch, place):
                    part = word.phones[begin - word.start : place - word.start]
                    self._hanzi_word(stretch[begin:place], part)
                    begin = place

    def _hanzi_word(self, hanzi: list[_Hanzi], phones: tuple[tuple[Phone, ...], ...]) -> None:
        for item, sounds in zip(hanzi, phones, strict=True):
            if not sounds:
                self._dropped.setdefault("character without a reading", []).append(item.character)
        flat = tuple(phone for sounds in phones for phone in sounds)
        if not flat:
            return
        start, end = min(item.start for item in hanzi), max(item.end for item in hanzi)
        spoken = "".join(item.text or item.character for item in hanzi)
        text = hanzi[0].text or self._text[start:end]
        self._units.append(Word(text, spoken, start, end, "zh", flat, hanzi[0].prosody))

    def _end_sentence(self) -> None:
        """Choose the readings of heteronyms by parts of speech, once the sentence is whole."""
        sentence, self._sentence = self._sentence, []
        if not any(english.is_heteronym(word) for _, word in sentence):
            return
        words = [word for _, word in sentence]
        for place, ((index, word), tag) in enumerate(zip(sentence, pos.tag(words), strict=True)):
            unit = self._units[index]
            if (
                english.is_heteronym(word)
                and isinstance(unit, Word)
                and unit.spoken.lower() == word.lower()
            ):
                heard = sounds_by_neighbours(words, place)
                phones = english.sounds(heard) if heard else english.word_to_phones(word, tag)
                self._units[index] = replace(unit, phones=phones)


def _parts_here(stretch: list[_Hanzi], place: int) -> bool:
    """True where a word must be cut: the prosody changes, or a number of several hanzi ends."""
    before, after = stretch[place - 1], stretch[place]
    if before.prosody != after.prosody:
        return True
    is_same = (before.start, before.end) == (after.start, after.end)
    return not is_same and (_is_shared(stretch, place - 1) or _is_shared(stretch, place))


def _is_shared(stretch: list[_Hanzi], place: int) -> bool:
    """True for a hanzi whose source span it shares with a neighbour."""
    return any(
        0 <= other < len(stretch) and stretch[other].start == stretch[place].start
        for other in (place - 1, place + 1)
    )


def _trim(units: list[Unit]) -> list[Unit]:
    """Without the unasked pauses before the first word."""
    for index, unit in enumerate(units):
        if not isinstance(unit, Pause) or unit.seconds is not None:
            return units[index:]
    return []


def _the_before_vowels(units: list[Unit]) -> list[Unit]:
    """`the` sounds like `thee` before a vowel."""
    result = list(units)
    for index in range(len(units) - 1):
        word, following = units[index], units[index + 1]
        if (
            isinstance(word, Word)
            and isinstance(following, Word)
            and word.spoken.lower() == "the"
            and is_vowel(following.phones[0])
        ):
            result[index] = replace(word, phones=(word.phones[0], _THEE))
    return result


def _merge(units: list[Unit]) -> list[Unit]:
    """Words of one source token become one word, so that timings name each token once.

    `$5.20` is read as several words, yet the caller wrote one; the language is that of the first.
    """
    merged: list[Unit] = []
    for unit in units:
        last = merged[-1] if merged else None
        if (
            isinstance(unit, Word)
            and isinstance(last, Word)
            and (last.start, last.end, last.prosody) == (unit.start, unit.end, unit.prosody)
            and len(last.phones) + len(unit.phones) <= MAX_WORD_PHONES
        ):
            joint = "" if last.language == unit.language == "zh" else " "
            spoken = last.spoken + joint + unit.spoken
            text = last.text if last.text == unit.text else last.text + joint + unit.text
            phones = last.phones + unit.phones
            merged[-1] = replace(last, text=text, spoken=spoken, phones=phones)
        else:
            merged.append(unit)
    return merged
