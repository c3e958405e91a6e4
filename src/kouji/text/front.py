"""The text front end: from the caller's text to segments of words, pauses and events with phones.

Joins the rooms of text: marks, normalisation, g2p and splitting. Knows no model; every unit
keeps the span of the caller's text it stands for.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import replace

from kouji.errors import TextError
from kouji.text import markup
from kouji.text.compose import Composer
from kouji.text.g2p.pinyin import pinyin_to_phones
from kouji.text.split import (
    CLAUSE,
    SENTENCE,
    WORD,
    Boundary,
    Span,
    SplitLimits,
    choose_cuts,
    outside,
    quotes,
)
from kouji.text.units import Analysis, Event, Pause, Prosody, Segment, Unit, Word
from kouji.types import Language

__all__ = [
    "Analysis", "Event", "Pause", "Prosody", "Segment", "SplitLimits", "Word", "analyse",
    "phones_of",
]  # fmt: skip

MAX_CHARACTERS = 100_000
_EVENT_WEIGHT = 4.0  # a breath takes about as long as four phones


def analyse(
    text: str,
    *,
    language: Language | None = None,
    limits: SplitLimits | None = None,
    events: Collection[str] | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> Analysis:
    """Read a text with its marks or an SSML document.

    language: how numbers and symbols without words around them are read; None = by the text
    limits:   sizes of segments
    events:   names of events (markup.EVENTS, and "strong" for stress) the model family has;
              others are dropped with a warning. None keeps all of them
    raises:   MarkError for a wrong mark, TextError for a text that is empty, longer than
              `max_characters` or without anything that has a sound
    """
    _check_size(text, max_characters)
    composer = Composer(text, language)
    for piece in markup.parse(text):
        composer.add(piece)
    units, warnings = composer.finish()
    units, lost = _keep_events(units, events)
    if not any(isinstance(unit, Word | Event) for unit in units):
        raise TextError(
            "nothing in the text has a sound",
            seen=repr(text[:40]),
            allowed="Chinese or English words, numbers or signs with a reading",
        )
    return Analysis(_segments(text, units, limits or SplitLimits()), (*warnings, *lost))


def phones_of(text: str, language: str) -> tuple[Unit, ...]:
    """Words and pauses of a transcript, without marks and without splitting, for training data.

    language: "zh", "en", or "zh-pinyin" for syllables with tone numbers separated by blanks
    """
    if language == "zh-pinyin":
        return _pinyin_words(text)
    if language not in ("zh", "en"):
        raise TextError("unknown language", seen=language, allowed="zh, en, zh-pinyin")
    composer = Composer(text, "zh" if language == "zh" else "en")
    composer.add(markup.Plain(text, tuple(range(len(text))), tuple(range(1, len(text) + 1))))
    units, _ = composer.finish()
    if not units:
        raise TextError("nothing in the text has a sound", seen=repr(text[:40]))
    return tuple(units)


def _pinyin_words(text: str) -> tuple[Unit, ...]:
    words: list[Unit] = []
    position = 0
    for syllable in text.split():
        start = text.index(syllable, position)
        position = start + len(syllable)
        phones = pinyin_to_phones(syllable.lower())
        words.append(Word(syllable, syllable, start, position, "zh", phones))
    if not words:
        raise TextError("nothing in the text has a sound", seen=repr(text[:40]))
    return tuple(words)


def _check_size(text: str, max_characters: int) -> None:
    if not text.strip():
        raise TextError("the text is empty", seen=repr(text[:40]), allowed="at least one word")
    if len(text) > max_characters:
        raise TextError(
            "the text is too long",
            seen=f"{len(text)} characters",
            allowed=f"up to {max_characters}",
            cure="split it, or raise the limit",
        )


def _keep_events(units: list[Unit], events: Collection[str] | None) -> tuple[list[Unit], list[str]]:
    """Units without the events a family lacks, and a warning with a count for each kind."""
    if events is None:
        return units, []
    kept: list[Unit] = []
    lost: dict[str, int] = {}
    for unit in units:
        if isinstance(unit, Event) and unit.name not in events:
            lost[f"[{unit.name}]"] = lost.get(f"[{unit.name}]", 0) + 1
            continue
        if isinstance(unit, Word):
            for field, name in (("strong", "strong"), ("laughing", "laughter")):
                if getattr(unit.prosody, field) and name not in events:
                    lost[f"<{name}>"] = lost.get(f"<{name}>", 0) + 1
                    unit = replace(unit, prosody=replace(unit.prosody, **{field: False}))
        kept.append(unit)
    return kept, [
        f"{name} is not in this model family and was dropped ({count} times)"
        for name, count in lost.items()
    ]


def _segments(text: str, units: list[Unit], limits: SplitLimits) -> tuple[Segment, ...]:
    """Cut the units; together the segments cover the whole text, leading blanks included."""
    units = _loosen_giants(units, limits)
    weights = [0.0]
    for unit in units:
        weights.append(weights[-1] + _weight(unit))
    quoted = quotes(text)
    boundaries = [
        Boundary(_place(units, index, quoted), weights[index], _rank(units[index - 1]))
        for index in range(1, len(units))
        if not isinstance(units[index], Pause) and _is_apart(units[index - 1], units[index])
    ]
    free = outside(boundaries, _protected(quoted, units, weights, limits))
    cuts = choose_cuts(free, weights[-1], limits)
    segments: list[Segment] = []
    edges = [0, *cuts, len(text)]
    index = 0
    for place, start in enumerate(edges[:-1]):
        end, first = edges[place + 1], index
        while index < len(units) and (units[index].start < end or place + 2 == len(edges)):
            index += 1
        inside = tuple(units[first:index])
        segments.append(Segment(text[start:end], inside, start, end))
    return tuple(segments)


def _is_apart(before: Unit, after: Unit) -> bool:
    """False for units of one source token, between which there is no place in the text."""
    return after.start >= before.end and after.start > before.start


def _place(units: Sequence[Unit], index: int, quoted: Sequence[Span]) -> int:
    """Where to cut before a unit: ahead of the quote it opens, else at its own first character."""
    start = units[index].start
    nearest = bisect_right(quoted, (start, 0)) - 1
    while nearest >= 0 and quoted[nearest].start >= units[index - 1].end:
        start, nearest = quoted[nearest].start, nearest - 1
    return start


def _protected(
    quoted: Sequence[Span], units: Sequence[Unit], weights: Sequence[float], limits: SplitLimits
) -> list[Span]:
    """Spans of units, and of quotes that fit into one segment."""
    spans = [Span(unit.start, unit.end) for unit in units]
    starts = [unit.start for unit in units]
    for quote in quoted:
        first, last = bisect_left(starts, quote.start), bisect_left(starts, quote.end)
        if weights[last] - weights[first] <= limits.max:
            spans.append(quote)
    return spans


def _weight(unit: Unit) -> float:
    if isinstance(unit, Word):
        return float(len(unit.phones))
    return _EVENT_WEIGHT if isinstance(unit, Event) else 0.0


def _rank(previous: Unit) -> int:
    if isinstance(previous, Pause):
        return CLAUSE if previous.mark == "," else SENTENCE
    return WORD


def _loosen_giants(units: list[Unit], limits: SplitLimits) -> list[Unit]:
    """Share out the span of readings longer than a segment, so that they can be cut at all."""
    result: list[Unit] = []
    start = 0
    while start < len(units):
        end = start + 1
        span = (units[start].start, units[start].end)
        while end < len(units) and units[end].start < span[1]:
            end += 1
        group = units[start:end]
        if len(group) > 1 and sum(map(_weight, group)) > limits.max:
            group = _share_span(group, *span)
        result += group
        start = end
    return result


def _share_span(group: list[Unit], start: int, end: int) -> list[Unit]:
    edges = [start + (end - start) * index // len(group) for index in range(len(group) + 1)]
    return [
        replace(unit, start=edges[index], end=edges[index + 1]) for index, unit in enumerate(group)
    ]
