"""Kouji's marks in a text for GPT-SoVITS: pauses between stretches, sounds inside them.

A sound given by the caller travels through the cutting of the text as one placeholder
character, and comes out as the symbols it stands for. What the family cannot do is named in a
warning, never spoken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kouji.errors import TextError
from kouji.models.gpt_sovits.text.zh_pinyin import spell
from kouji.text.markup import Break, Event, Phonetic, Piece, Plain, parse
from kouji.text.phones import Phone
from kouji.text.units import NEUTRAL

# Hieroglyphs: letters to every rule about words and marks, and no language here is written so.
_FIRST, _LAST = 0x13000, 0x1342E
_PLACEHOLDER = re.compile(f"[{chr(_FIRST)}-{chr(_LAST)}]")
MAX_SOUNDS = _LAST - _FIRST + 1
_FINALS = {"ii": "i", "iii": "i", "ee": "e"}  # our finals that pinyin spells alike
_ERHUA = "rr"


@dataclass(frozen=True)
class Stretch:
    """Text between two pauses; `pause_seconds` of silence follow it."""

    text: str
    pause_seconds: float = 0.0


@dataclass(frozen=True)
class MarkedText:
    """A text whose marks were read; sound i is written as the i-th placeholder."""

    stretches: tuple[Stretch, ...]
    sounds: tuple[Phonetic, ...]
    warnings: tuple[str, ...]

    def parts(self, segment: str) -> Iterator[str | tuple[str, ...]]:
        """A segment as pieces of text (str) and symbols of given sounds (tuple), in order."""
        start = 0
        for match in _PLACEHOLDER.finditer(segment):
            if match.start() > start:
                yield segment[start : match.start()]
            yield tuple(symbols_of(self.sounds[ord(match.group()) - _FIRST]))
            start = match.end()
        if start < len(segment):
            yield segment[start:]

    @property
    def plain(self) -> str:
        """The text without the given sounds."""
        return "".join(_PLACEHOLDER.sub("", stretch.text) for stretch in self.stretches)

    def shown(self, segment: str) -> str:
        """A segment with its sounds as the caller wrote them."""
        return _PLACEHOLDER.sub(lambda m: self.sounds[ord(m.group()) - _FIRST].text, segment)


def read_marks(text: str) -> MarkedText:
    """Read marks or SSML.

    raises: MarkError at the first that is wrong, TextError for more given sounds than fit
    """
    stretches: list[Stretch] = []
    sounds: list[Phonetic] = []
    written: list[str] = []
    pieces = parse(text)
    for piece in pieces:
        if isinstance(piece, Break):
            stretches.append(Stretch("".join(written), piece.seconds or 0.0))
            written = []
        elif isinstance(piece, Phonetic):
            written.append(chr(_FIRST + len(sounds)))
            sounds.append(piece)
        elif isinstance(piece, Plain):
            plain = _PLACEHOLDER.sub("", piece.text)
            written.append(" ".join(plain) if piece.say_as == "letters" else plain)
    stretches.append(Stretch("".join(written)))
    if len(sounds) > MAX_SOUNDS:
        raise TextError(
            "too many sounds are given in one text",
            seen=len(sounds),
            allowed=f"up to {MAX_SOUNDS}",
            cure="send the text in parts",
        )
    return MarkedText(tuple(stretches), tuple(sounds), tuple(_warnings(pieces)))


def symbols_of(piece: Phonetic) -> Iterator[str]:
    """The symbols of a word given by its sounds."""
    for syllable in piece.syllables:
        if piece.language == "en":
            yield from map(str, syllable)
        else:
            yield from _pinyin(syllable)


def _pinyin(syllable: Sequence[Phone]) -> Iterator[str]:
    finals = [phone for phone in syllable if phone.tone and phone.symbol != _ERHUA]
    initials = [phone.symbol for phone in syllable if not phone.tone and phone.symbol != _ERHUA]
    for final in finals:
        sound = _FINALS.get(final.symbol, final.symbol)
        yield from spell(initials[0] if initials else "", f"{sound}{final.tone}")
    if any(phone.symbol == _ERHUA for phone in syllable):
        yield from spell("", "er5")


def _warnings(pieces: Sequence[Piece]) -> Iterator[str]:
    events = [piece.name for piece in pieces if isinstance(piece, Event)]
    if events:
        names = ", ".join(dict.fromkeys(events))
        yield f"GPT-SoVITS has no sounds beside speech; left out: {names}"
    moved = [p for p in pieces if isinstance(p, Plain | Phonetic) and p.prosody != NEUTRAL]
    if moved:
        yield "GPT-SoVITS cannot change rate, pitch or stress inside a text; spoken as usual"
