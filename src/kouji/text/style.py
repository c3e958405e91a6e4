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
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from kouji.errors import StyleError
from kouji.text import style_words as words
from kouji.text.style_words import Effect

RATE_RANGE = (0.5, 2.0)
PITCH_RANGE_SEMITONES = (-12.0, 12.0)
ENERGY_RANGE_DB = (-20.0, 12.0)
EXPRESSION_RANGE = (0.2, 2.5)
_MILD_OPPOSITE = -0.4  # "not too fast" asks for a little slower than usual


@dataclass(frozen=True)
class Style:
    """How to speak, relative to the voice's own way.

    rate, pitch_range: factors (2.0 = twice as fast, twice the melody)
    pitch_semitones, energy_db: differences
    emotion: a key of style_words.MOODS or MANNERS; dialect: a key of DIALECTS
    text:    the caller's words; unknown: parts of it that no word list has
    """

    rate: float = 1.0
    pitch_semitones: float = 0.0
    energy_db: float = 0.0
    pitch_range: float = 1.0
    emotion: str | None = None
    dialect: str | None = None
    text: str = ""
    unknown: tuple[str, ...] = ()


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
        clause, numbers = _take_numbers(clause)
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
        )


class _Moves:
    """Effects of presets and of plain words, combined dimension by dimension."""

    def __init__(self, presets: list[Effect], moves: list[Effect]) -> None:
        self._presets = [_logarithmic(effect) for effect in presets]
        self._moves = [_logarithmic(effect) for effect in moves]

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


_NUMBER = r"(\d{1,3}(?:\.\d{1,4})?)"
_RATE_WORD = r"(?:rate|speed|pace|tempo|语速|速度|速率)\s*(?:of|=|:|at|is|为|是|到|调到|放到)?\s*"
_PATTERNS: tuple[tuple[str, str, str], ...] = (
    ("percent", rf"{_NUMBER}\s*%\s*(faster|quicker|slower)", "word after"),
    ("percent", rf"(faster|quicker|slower)\s*by\s*{_NUMBER}\s*%", "word before"),
    ("percent", rf"(快|慢)\s*(?:了)?{_NUMBER}\s*%", "word before"),
    ("rate_percent", rf"{_RATE_WORD}{_NUMBER}\s*%", ""),
    ("rate", rf"{_RATE_WORD}x?{_NUMBER}\s*(?:x|times|倍速|倍)?(?![\d%])", ""),
    ("rate", rf"{_NUMBER}\s*(?:x|times|×)(?:\s*(?:speed|faster|rate|as\s+fast))?(?![a-z])", ""),
    ("rate", rf"x\s*{_NUMBER}(?:\s*speed)?", ""),
    ("rate", rf"{_NUMBER}\s*倍(?:速|语速|的?速度)?", ""),
    ("pitch", rf"(lower|down)[a-z ]*?\s(?:by\s)?{_NUMBER}\s*(?:semitones?|st)()", ""),
    (
        "pitch",
        rf"([+-]?){_NUMBER}\s*(?:semitones?|st|half\s*steps?)(?![a-z])"
        r"(?:\s*(higher|lower|up|down))?",
        "",
    ),
    ("pitch", rf"(高|低|升|降|升高|降低)\s*{_NUMBER}\s*个?半音()", ""),
    ("pitch", rf"([+-]?){_NUMBER}\s*个?半音()", ""),
    ("pitch", rf"(?:pitch|音调|音高|声调)\s*[:=]?\s*([+-]){_NUMBER}()", ""),
    (
        "energy",
        rf"(?:volume|energy|loudness|音量)\s*[:=]?\s*([+-]){_NUMBER}(?:\s*(?:db|分贝))?()",
        "",
    ),
    ("energy", rf"([+-]?){_NUMBER}\s*(?:db|分贝)(?:\s*(louder|quieter|softer))?", ""),
)  # fmt: skip
_FRACTIONS = {
    "half speed": 0.5, "half the speed": 0.5, "half as fast": 0.5, "double speed": 2.0,
    "twice as fast": 2.0, "double the speed": 2.0, "两倍速": 2.0, "两倍语速": 2.0, "半速": 0.5,
    "快一倍": 2.0, "慢一半": 0.5, "一半速度": 0.5, "一半的速度": 0.5, "一倍半": 1.5,
}  # fmt: skip
_HANZI_NUMBER = re.compile(
    r"([零一二两三四五六七八九十])(?:点([零一二三四五六七八九]+))?(?=\s*(?:倍(?!半)|个?半音|分贝))(?<![快慢]一)"
)
_HANZI_DIGITS = {sign: str(value) for value, sign in enumerate("零一二三四五六七八九十")} | {
    "两": "2"
}
_DOWNWARDS = ("-", "lower", "down", "低", "降", "降低", "quieter", "softer", "slower", "慢")


def _take_numbers(clause: str) -> tuple[str, dict[str, float]]:
    """The clause without what is given by number, and those numbers."""
    numbers: dict[str, float] = {}
    clause = _HANZI_NUMBER.sub(_arabic, clause)
    for phrase, rate in _FRACTIONS.items():
        if phrase in clause:
            clause, numbers["rate"] = clause.replace(phrase, " "), rate
    for kind, pattern, order in _PATTERNS:
        match = re.search(pattern, clause)
        if match is None:
            continue
        name, value = _value_of(kind, match, order)
        _check_range(name, value, match.group().strip())
        numbers[name] = value
        clause = clause[: match.start()] + " " + clause[match.end() :]
    return clause, numbers


def _arabic(match: re.Match[str]) -> str:
    decimals = "".join(_HANZI_DIGITS[sign] for sign in match[2] or "")
    return _HANZI_DIGITS[match[1]] + (f".{decimals}" if decimals else "")


def _value_of(kind: str, match: re.Match[str], order: str) -> tuple[str, float]:
    if kind == "percent":
        number, word = match.groups() if order == "word after" else match.groups()[::-1]
        return "rate", 1.0 + float(number) / 100 * (-1 if word in _DOWNWARDS else 1)
    if kind == "rate_percent":
        return "rate", float(match[1]) / 100
    if kind == "rate":
        return "rate", float(match[1])
    is_down = any(part in _DOWNWARDS for part in (match[1], match[3]) if part)
    return kind, float(match[2]) * (-1 if is_down else 1)


def _check_range(name: str, value: float, seen: str) -> None:
    low, high = {
        "rate": RATE_RANGE, "pitch": PITCH_RANGE_SEMITONES, "energy": ENERGY_RANGE_DB
    }[name]  # fmt: skip
    if not low <= value <= high:
        unit = {"rate": "times", "pitch": "semitones", "energy": "dB"}[name]
        raise StyleError(
            f"{name} of the style is out of range", seen=seen, allowed=f"{low:g} to {high:g} {unit}"
        )
