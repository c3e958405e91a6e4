"""Where a spelled text is cut into segments: at sentence ends, of about 60 to 80 characters.

Weighs signs in characters of Chinese or tokens of other languages, about four a second; the
cutting itself is `kouji.text.split`'s. Never inside the tokens of one sound or beside the inner
side of a scope.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from kouji.models.cosyvoice.text.spelling import Sign
from kouji.models.cosyvoice.text.text_marks import Stretch
from kouji.text.split import (
    ANYWHERE,
    CLAUSE,
    Boundary,
    Span,
    SplitLimits,
    choose_cuts,
    outside,
    quotes,
    rank_text,
)

LIMITS = SplitLimits(first_max=40, max=80, min=40)
_TOKEN = "\U000f0000"  # how a token looks to rules about words and marks: like a letter
_NUMBER = re.compile(r"\d[\d.,:/]*\d")
_SYLLABLE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]")
_EVENT_WEIGHT, _SOUND_WEIGHT, _LETTER_WEIGHT = 3.0, 0.5, 0.25


def cut_stretch(stretch: Stretch, limits: SplitLimits = LIMITS) -> list[tuple[Sign, ...]]:
    """The segments of a stretch, all its signs in order; a scope is closed and opened at a cut."""
    signs = stretch.signs
    text = "".join(_TOKEN if sign.is_token else sign.text for sign in signs)
    weights = [0.0, *accumulate(map(_weight, signs))]
    held = [*_token_runs(signs), *(Span(*match.span()) for match in _NUMBER.finditer(text))]
    held += [span for span in quotes(text) if weights[span.end] - weights[span.start] <= limits.max]
    boundaries = [
        Boundary(place, weights[place], _rank(rank, text, place))
        for place, rank in enumerate(rank_text(text))
        if rank is not None
    ]
    cuts = choose_cuts(outside(boundaries, held), weights[-1], limits)
    segments = [signs[start:end] for start, end in pairwise([0, *cuts, len(signs)])]
    return list(_with_scopes(segments))


def after_first(limits: SplitLimits) -> SplitLimits:
    """Limits for what follows audio that is already playing."""
    return replace(limits, first_max=limits.max)


def _weight(sign: Sign) -> float:
    if not sign.is_token:
        if _SYLLABLE.match(sign.text) or sign.text.isdigit():
            return 1.0
        return _LETTER_WEIGHT if sign.text.isalpha() else 0.0
    if sign.text.startswith("<"):
        return 0.0
    return _EVENT_WEIGHT if len(sign.text) > len("[uang]") else _SOUND_WEIGHT


def _rank(rank: int, text: str, place: int) -> int:
    """Inside a word of any alphabet one cuts only where nothing else is left."""
    if rank >= CLAUSE:
        return rank
    pair = text[place - 1 : place + 1]
    is_inside = pair.isalpha() and not any(_SYLLABLE.match(sign) for sign in pair)
    return ANYWHERE if is_inside else rank


def _token_runs(signs: Sequence[Sign]) -> Iterator[Span]:
    """Spans of neighbouring tokens; a scope holds on to what it opens before or closes after."""
    start = 0
    while start < len(signs):
        end = start + 1
        while end < len(signs) and _belong(signs[end - 1], signs[end]):
            end += 1
        if end > start + 1:
            yield Span(start, end)
        start = end


def _belong(before: Sign, after: Sign) -> bool:
    if after.is_token and after.text.startswith("</"):
        return True
    if before.is_token and before.text.startswith("<") and not before.text.startswith("</"):
        return True
    return before.is_token and after.is_token and before.text[0] == after.text[0] == "["


def _with_scopes(segments: Sequence[tuple[Sign, ...]]) -> Iterator[tuple[Sign, ...]]:
    opened: list[Sign] = []
    for segment in segments:
        before = tuple(sign._replace(start=segment[0].start) for sign in opened) if segment else ()
        for sign in segment:
            if sign.is_token and sign.text.startswith("</"):
                opened.pop()
            elif sign.is_token and sign.text.startswith("<"):
                opened.append(sign)
        end = segment[-1].start if segment else 0
        after = tuple(Sign(f"</{sign.text[1:]}", end, True) for sign in reversed(opened))
        yield (*before, *segment, *after)
