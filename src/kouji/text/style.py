"""Speaking style by plain words, Chinese or English, read into numbers and names.

Knows words for rate, pitch, loudness, moods, manners and dialects, their degrees and negation.
It does not know what a model family can do with them: `unknown` lists what was not
understood, `text` keeps the caller's words for families that take free text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from kouji.errors import StyleError
from kouji.text import style_words as words
from kouji.text.style_figures import (
    ENERGY_RANGE_DB,
    PITCH_RANGE_SEMITONES,
    RATE_RANGE,
    take_figures,
)
from kouji.text.style_words import Effect

__all__ = [
    "ENERGY_RANGE_DB", "EXPRESSION_RANGE", "PITCH_RANGE_SEMITONES", "RATE_RANGE", "Heard", "Style",
    "figures_only", "parse_style",
]  # fmt: skip

EXPRESSION_RANGE = (0.2, 2.5)
_NO_MOVE = Effect()
_MILD_OPPOSITE = -0.4  # "not too fast" asks for a little slower than usual


@dataclass(frozen=True)
class Heard:
    """What of a style was said in which way, for families that follow words by themselves.

    asked:   what plain words ask for, without moods and figures
    figures: the dimensions given by number: rate, pitch, energy
    mood, manner: keys of MOODS and MANNERS
    """

    asked: Effect = _NO_MOVE
    figures: frozenset[str] = frozenset()
    mood: str | None = None
    manner: str | None = None


@dataclass(frozen=True)
class Style:
    """How to speak, relative to the voice's own way.

    rate, pitch_range: factors (2.0 = twice as fast, twice the melody)
    pitch_semitones, energy_db: differences
    emotion: a key of style_words.MOODS or MANNERS; dialect: a key of DIALECTS
    text:    the caller's words; unknown: parts of it that no word list has
    heard:   how it was said; the wishes themselves are the fields above
    """

    rate: float = 1.0
    pitch_semitones: float = 0.0
    energy_db: float = 0.0
    pitch_range: float = 1.0
    emotion: str | None = None
    dialect: str | None = None
    text: str = ""
    unknown: tuple[str, ...] = ()
    heard: Heard = field(default=Heard(), compare=False, repr=False)


class _Token(NamedTuple):
    kind: str  # effect, mood, manner, dialect, standard, noun, step, degree, negation, ...
    value: str
    effect: Effect = Effect()
    degree: float = 1.0


def parse_style(text: str) -> Style:
    """Read a style; deterministic, whatever the order of conflicting words says is decided so:

    numbers beat words; of opposite words for one dimension, and of several moods or
    dialects, the last one counts; words pointing the same way as the mood add to it, words
    pointing against it replace it.
    raises: StyleError for a number out of range
    """
    plain = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    plain = _BALANCED.sub(lambda match: "" if _is_opposite(match) else match.group(), plain)
    reader = _Reader()
    for clause in re.split(r"[,;。.!?、\n]+(?!\d)|:(?!\s*\d)", plain):
        reader.read(clause)
    return reader.finish(text)


def figures_only(style: Style) -> Style:
    """A style whose rate is what was asked for in figures, for families that follow the words.

    Figures are those in the words, and what a caller put on top of what the words stand for.
    """
    if not style.text:
        return style
    try:
        words = parse_style(style.text)
    except StyleError:  # not by our rules: nothing of the rate came from it
        return style
    if "rate" in words.heard.figures:
        return style
    return replace(style, rate=_fit(style.rate / words.rate, RATE_RANGE))


# "Not too fast, not too slow" asks for neither: both halves go.
_NOT = r"(?:not|neither|nor)\s+(?:(?:too|so|very|overly|that)\s+)?"
_BALANCED = re.compile(
    rf"{_NOT}(?P<one>[a-z]+)\s*[,;]?\s*(?:(?:and|but|or)\s+)?{_NOT}(?P<two>[a-z]+)"
    r"|(?:不要|别|不)太?(?P<first>[\u4e00-\u9fff]{1,2}?)[,;、\s]*(?:也|又)?(?:不要|别|不)太?"
    r"(?P<second>[\u4e00-\u9fff]{1,2})"
)
_OPPOSITES = tuple(
    frozenset(pair.split())
    for pair in (
        "fast slow|quick slow|loud quiet|loud soft|high low|happy sad"
        "|快 慢|高 低|大声 小声|尖 沉|响 轻|大 小"
    ).split("|")
)


def _is_opposite(match: re.Match[str]) -> bool:
    return {match["one"] or match["first"], match["two"] or match["second"]} in _OPPOSITES


class _Reader:
    """Gathers what the clauses of one style say."""

    def __init__(self) -> None:
        self._moves: list[Effect] = []
        self._numbers: dict[str, float] = {}
        self._mood: tuple[str, Effect] | None = None
        self._manner: tuple[str, Effect] | None = None
        self._dialect: str | None = None
        self._unknown: list[str] = []

    def read(self, clause: str) -> None:
        """Take one clause: numbers first, then words part by part between conjunctions."""
        clause, numbers = take_figures(clause)
        self._numbers.update(numbers)
        part: list[_Token] = []
        for token in _tokenise(clause):
            if token.kind == "conjunction":
                self._read_part(part)
                part = []
            else:
                part.append(token)
        self._read_part(part)

    def _read_part(self, tokens: list[_Token]) -> None:
        tokens = _settle_comparatives(tokens)
        nouns = [token.value for token in tokens if token.kind == "noun"]
        for index, token in enumerate(tokens):
            if token.kind == "unknown":
                self._unknown.append(token.value)
            elif token.kind in ("effect", "step", "mood", "manner"):
                self._take(token, _scale_of(tokens, index), nouns)
            elif token.kind == "dialect" and not _is_negated(tokens, index):
                self._dialect = token.value
            elif token.kind == "standard":
                self._dialect = None

    def _take(self, token: _Token, scale: float, nouns: list[str]) -> None:
        if token.kind == "effect":
            self._moves.append(_scaled(token.effect, scale))
        elif token.kind == "step":
            noun = nouns[0] if nouns else token.value
            sign = 1.0 if token.effect.rate > 1 else -1.0
            self._moves.append(_scaled(words.STEP[noun], scale * sign))
        elif scale > 0:  # "not sad" names a mood only to turn it down
            chosen = (token.value, _scaled(token.effect, scale))
            if token.kind == "mood":
                self._mood = chosen
            else:
                self._manner = chosen

    def finish(self, text: str) -> Style:
        emotion = self._mood or self._manner
        presets = [found[1] for found in (self._mood, self._manner) if found]
        moves = _Moves(presets, self._moves)
        return Style(
            rate=_fit(self._numbers.get("rate", 2.0 ** moves.total(0)), RATE_RANGE),
            pitch_semitones=_fit(self._numbers.get("pitch", moves.total(1)), PITCH_RANGE_SEMITONES),
            energy_db=_fit(self._numbers.get("energy", moves.total(2)), ENERGY_RANGE_DB),
            pitch_range=_fit(2.0 ** moves.total(3), EXPRESSION_RANGE),
            emotion=emotion[0] if emotion else None,
            dialect=self._dialect,
            text=text,
            unknown=tuple(self._unknown),
            heard=Heard(
                _Moves([], self._moves).effect,
                frozenset(self._numbers),
                self._mood[0] if self._mood else None,
                self._manner[0] if self._manner else None,
            ),
        )


class _Moves:
    """Effects of presets and of plain words, combined dimension by dimension."""

    def __init__(self, presets: list[Effect], moves: list[Effect]) -> None:
        self._presets = [_logarithmic(effect) for effect in presets]
        self._moves = [_logarithmic(effect) for effect in moves]

    @property
    def effect(self) -> Effect:
        """Where all dimensions end up."""
        rate, pitch, energy, pitch_range = map(self.total, range(4))
        return Effect(2.0**rate, pitch, energy, 2.0**pitch_range)

    def total(self, dimension: int) -> float:
        """Where a dimension ends up; factors are logarithms to base 2."""
        preset = sum(effect[dimension] for effect in self._presets)
        asked = 0.0
        for effect in self._moves:
            value = effect[dimension]
            if value * asked < 0 or abs(value) > abs(asked):  # the last direction named counts
                asked = value
        return asked if asked * preset < 0 else preset + asked


def _logarithmic(effect: Effect) -> tuple[float, float, float, float]:
    rate, pitch_range = math.log2(effect.rate), math.log2(effect.pitch_range)
    return rate, effect.pitch_semitones, effect.energy_db, pitch_range


def _scaled(effect: Effect, scale: float) -> Effect:
    return Effect(
        effect.rate**scale,
        effect.pitch_semitones * scale,
        effect.energy_db * scale,
        effect.pitch_range**scale,
    )


def _fit(value: float, allowed: tuple[float, float]) -> float:
    return round(min(max(value, allowed[0]), allowed[1]), 4)


def _settle_comparatives(tokens: list[_Token]) -> list[_Token]:
    """`more` and `less` before an effect only scale it; elsewhere they are steps."""
    settled = []
    for index, token in enumerate(tokens):
        scales_next = any(
            later.kind in ("effect", "mood", "manner") for later in tokens[index + 1 :]
        )
        if token.kind == "step" and token.degree != 1.0 and scales_next:
            token = _Token("filler" if token.effect.rate > 1 else "negation", "")
        settled.append(token)
    return settled


def _scale_of(tokens: list[_Token], index: int) -> float:
    """Degree and negation around an effect; reducing degrees win over raising ones."""
    degrees = []
    for token in reversed(tokens[:index]):
        if token.kind == "degree":
            degrees.append(token.degree)
        elif token.kind not in ("filler", "negation", "noun"):
            break
    for token in tokens[index + 1 :]:
        if token.kind == "degree":
            degrees.append(token.degree)
        elif token.kind != "filler":
            break
    reducing = [degree for degree in degrees if degree < 1]
    scale = min(reducing) if reducing else max(degrees, default=1.0)
    return _MILD_OPPOSITE if _is_negated(tokens, index) else scale


def _is_negated(tokens: list[_Token], index: int) -> bool:
    for token in reversed(tokens[:index]):
        if token.kind == "negation":
            return True
        if token.kind not in ("filler", "degree", "noun"):
            return False
    return False


def _tokenise(clause: str) -> Iterable[_Token]:
    """Longest known words from the left; what lies between them is unknown."""
    vocabulary, pattern = _vocabulary()
    position = 0
    for match in pattern.finditer(clause):
        yield from _unknown(clause[position : match.start()])
        yield vocabulary[" ".join(match.group().split())]
        position = match.end()
    yield from _unknown(clause[position:])


def _unknown(text: str) -> Iterable[_Token]:
    stripped = re.sub(r"^[\W_]+|[\W_]+$", "", text)
    if stripped:
        yield _Token("unknown", stripped)


@lru_cache(maxsize=1)
def _vocabulary() -> tuple[dict[str, _Token], re.Pattern[str]]:
    """All words with their tokens, later groups taking precedence, and a pattern of them all."""
    table: dict[str, _Token] = {}

    def enter(listed: str, token: _Token) -> None:
        for word in _words_of(listed):
            table[word] = token

    enter(words.FILLERS, _Token("filler", ""))
    enter(words.CONJUNCTIONS, _Token("conjunction", ""))
    for degree, listed in words.DEGREES.items():
        enter(listed, _Token("degree", "", degree=degree))
    enter(words.NEGATIONS, _Token("negation", ""))
    for noun, listed in words.NOUNS.items():
        enter(listed, _Token("noun", noun))
    for listed, rate in ((words.UP, 2.0), (words.DOWN, 0.5)):
        enter(listed, _Token("step", "pitch", Effect(rate=rate)))
    for word, rate in (
        ("大", 2.0),
        ("小", 0.5),
        ("加大", 2.0),
        ("减小", 0.5),
        ("强", 2.0),
        ("弱", 0.5),
    ):
        table[word] = _Token("step", "energy", Effect(rate=rate))
    table[words.MORE] = _Token("step", "energy", Effect(rate=2.0), degree=0.0)
    table[words.LESS] = _Token("step", "energy", Effect(rate=0.5), degree=0.0)
    for kind, moods in (("mood", words.MOODS), ("manner", words.MANNERS)):
        for name, (effect, listed) in moods.items():
            enter(listed, _Token(kind, name, effect))
    for effect, listed in words.FIXED.items():
        enter(listed, _Token("effect", "", effect))
    for name, listed in words.DIALECTS.items():
        enter(listed, _Token("dialect", name))
    enter(words.STANDARD, _Token("standard", ""))
    return table, _alternatives(table)


def _words_of(listed: str) -> list[str]:
    """Words parted by blanks; `_` joins the words of a phrase, a hyphen may be a blank."""
    phrases = [word.replace("_", " ") for word in listed.split()]
    return phrases + [word.replace("-", " ") for word in phrases if "-" in word]


def _alternatives(table: dict[str, _Token]) -> re.Pattern[str]:
    ordered = sorted(table, key=len, reverse=True)
    latin = "|".join(re.escape(word).replace(r"\ ", r"\s+") for word in ordered if word.isascii())
    hanzi = "|".join(re.escape(word) for word in ordered if not word.isascii())
    return re.compile(rf"(?<![a-z'])(?:{latin})(?![a-z'])|{hanzi}")
