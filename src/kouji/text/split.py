"""Where a long text is cut into segments: at sentences, within limits, the first one early.

Knows boundaries, their rank and the weight of text between them, weight being the number of
phones, counted or estimated. It never cuts inside a protected span (a number, a mark, a
quote that fits) unless that span alone is longer than a segment may be.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from kouji.errors import UsageError

SENTENCE, CLAUSE, WORD, ANYWHERE = 3, 2, 1, 0
HANZI_PHONES, LETTER_PHONES, DIGIT_PHONES = 2.0, 0.85, 3.0  # estimates for text without g2p

_SENTENCE_END = re.compile(
    r"(?:[。！？!?…；;]+|\n+|(?<![^A-Za-z][A-Z])(?<!^[A-Z])(?<!Mr)(?<!Ms)(?<!Mrs)(?<!Dr)(?<!St)"
    r"(?<!Jr)(?<!vs)\.(?=[\s\"'”’»)\]]|$))"
    r"[\"'”’»」』）)\]】]*\s*"
)
_CLAUSE_END = re.compile(r"(?:[，、：—–]+|[,:](?!\d))[\"'”’»」』）)\]】]*\s*")
_SPACE = re.compile(r"\s+")
_NUMBER = re.compile(r"[$€£¥￥+\-−]?\d(?:[\d.,:/\-–~×^]*\d)?(?: ?[%‰°℃]C?)?")
_MARK = re.compile(r"\[[^\[\]\n]{1,40}\](?:\[[^\[\]\n]{1,40}\])*|</?[A-Za-z][\w-]*>|\\.")
_QUOTE = re.compile(
    r"“[^“”]*”|「[^「」]*」|『[^『』]*』|《[^《》]*》|\"[^\"\n]*\"|（[^（）]*）|\([^()]*\)"
)


@dataclass(frozen=True)
class SplitLimits:
    """Sizes of segments in phones (about 13 a second of speech).

    first_max: the first segment, for early audio; max: any segment; min: shorter sentences
    are joined with the next one (the first may be half as long)
    """

    first_max: int = 60
    max: int = 140
    min: int = 12

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.first_max <= self.max:
            raise UsageError(
                "split limits contradict each other",
                seen=f"min={self.min}, first_max={self.first_max}, max={self.max}",
                allowed="1 <= min <= first_max <= max",
            )


class Boundary(NamedTuple):
    """A place one may cut: before character `position`, with the weight of all text before it."""

    position: int
    weight: float
    rank: int


class Span(NamedTuple):
    """A segment of text as half-open character offsets."""

    start: int
    end: int


def split(text: str, limits: SplitLimits | None = None) -> tuple[Span, ...]:
    """Cut plain text into segments that together cover every character, in order.

    Sizes are estimated from the script, as no word is looked up.
    """
    limits = limits or SplitLimits()
    weights = _cumulate(text)
    protected = [
        Span(*match.span()) for pattern in (_NUMBER, _MARK) for match in pattern.finditer(text)
    ]
    protected = [
        span for span in protected if weights[span.end] - weights[span.start] <= limits.max
    ]
    ranks = rank_text(text)
    boundaries = [
        Boundary(position, weights[position], rank)
        for position, rank in enumerate(ranks)
        if rank is not None
    ]
    protected += [
        span for span in quotes(text) if weights[span.end] - weights[span.start] <= limits.max
    ]
    cuts = choose_cuts(outside(boundaries, protected), weights[-1], limits)
    edges = [0, *cuts, len(text)] if text else [0]
    return tuple(Span(start, end) for start, end in pairwise(edges))


def quotes(text: str) -> list[Span]:
    """Spans of quoted or bracketed passages, outer marks included."""
    return sorted(Span(*match.span()) for match in _QUOTE.finditer(text))


def outside(boundaries: Iterable[Boundary], protected: Iterable[Span]) -> list[Boundary]:
    """The boundaries that lie strictly inside none of the spans."""
    merged: list[list[int]] = []
    for start, end in sorted(protected):
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    starts = [start for start, _ in merged]
    free = []
    for boundary in boundaries:
        index = bisect_right(starts, boundary.position) - 1
        if index < 0 or not merged[index][0] < boundary.position < merged[index][1]:
            free.append(boundary)
    return free


def choose_cuts(boundaries: Sequence[Boundary], total: float, limits: SplitLimits) -> list[int]:
    """Positions to cut at, ascending.

    boundaries: in order of position
    total:      weight of the whole text
    Each segment ends at the first sentence end that makes it long enough; where that would be
    too long, at the best clause or word boundary. Only a span without any boundary exceeds
    `limits.max`; the first segment exceeds `first_max` only if nothing can be cut before it.
    """
    cuts: list[int] = []
    start_weight, index, budget = 0.0, 0, limits.first_max
    while total - start_weight > 0:
        chosen = _next_cut(boundaries, index, start_weight, total, budget, limits)
        if chosen is None:
            break
        boundary = boundaries[chosen]
        if boundary.weight > start_weight:  # never a segment without a sound
            cuts.append(boundary.position)
            start_weight, budget = boundary.weight, limits.max
        index = chosen + 1
    return cuts


def _next_cut(
    boundaries: Sequence[Boundary],
    index: int,
    start: float,
    total: float,
    budget: int,
    limits: SplitLimits,
) -> int | None:
    """Index of the boundary that ends the segment starting at weight `start`, None for the end."""
    sentence_end, reach = total, index
    shortest = limits.min if start else limits.min / 2  # early audio is worth a short beginning
    for place in range(index, len(boundaries)):
        _, weight, rank = boundaries[place]
        if weight - start <= budget:
            reach = place + 1
        if rank == SENTENCE and weight - start >= shortest and weight < total:
            sentence_end = weight
            is_crumb = total - weight < limits.min and total - start <= budget  # what would be left
            if is_crumb:
                return None
            if weight - start <= budget:
                return _last_of_weight(boundaries, place)
            break
        if weight - start > limits.max and place >= reach:
            break
    if total - start <= budget and sentence_end >= total:
        return None
    inside = [place for place in range(index, reach) if start < boundaries[place].weight < total]
    if inside:
        return _best_of(boundaries, inside, start, sentence_end, budget)
    following = (
        place for place in range(reach, len(boundaries)) if boundaries[place].weight > start
    )
    nearest = next(following, None)
    return nearest if nearest is None or boundaries[nearest].weight < total else None


def _best_of(
    boundaries: Sequence[Boundary], inside: list[int], start: float, end: float, budget: int
) -> int:
    """The strongest boundary, the one nearest to even parts among equals."""
    parts = max(2, -(-int(end - start) // budget))
    target = min(budget, (end - start) / parts)
    strong = [place for place in inside if boundaries[place].rank >= CLAUSE]
    far_enough = [place for place in strong if boundaries[place].weight - start >= target * 0.4]
    best_rank = max(boundaries[place].rank for place in inside)
    candidates = far_enough or [place for place in inside if boundaries[place].rank == best_rank]
    if best_rank >= CLAUSE and not far_enough:  # a crumb before the comma: rather a word boundary
        words = [place for place in inside if boundaries[place].weight - start >= target * 0.4]
        top = max((boundaries[place].rank for place in words), default=None)
        candidates = [place for place in words if boundaries[place].rank == top] or candidates
    return min(candidates, key=lambda place: abs(boundaries[place].weight - start - target))


def _last_of_weight(boundaries: Sequence[Boundary], place: int) -> int:
    """Move behind closing signs that weigh nothing, as long as they end a sentence too."""
    while (
        place + 1 < len(boundaries)
        and boundaries[place + 1].weight == boundaries[place].weight
        and boundaries[place + 1].rank == SENTENCE
    ):
        place += 1
    return place


def weigh(text: str) -> float:
    """Estimated number of phones of a plain text."""
    return _cumulate(text)[-1]


def rank_text(text: str) -> list[int | None]:
    """Rank of the boundary before each character of plain text, None where one may not cut."""
    ranks: list[int | None] = [_grapheme_rank(text, index) for index in range(len(text))]
    for pattern, rank in ((_SPACE, WORD), (_CLAUSE_END, CLAUSE), (_SENTENCE_END, SENTENCE)):
        for match in pattern.finditer(text):
            for inside in range(match.start(), match.end()):
                ranks[inside] = None if inside > match.start() else ranks[inside]
            if match.end() < len(text):
                ranks[match.end()] = rank
            if match.start() < len(text):
                ranks[match.start()] = None  # a mark stays with what it ends
    return ranks


def _grapheme_rank(text: str, index: int) -> int | None:
    """Between hanzi as between words; inside a Latin word anywhere; never before a joiner."""
    if index == 0:
        return None
    previous, current = text[index - 1], text[index]
    if (
        unicodedata.combining(current)
        or "\u200d" in (previous, current)
        or current in "\ufe0f\ufe0e"
    ):
        return None
    is_letter = (
        current.isascii() and current.isalnum() and previous.isascii() and previous.isalnum()
    )
    return ANYWHERE if is_letter else WORD


def _cumulate(text: str) -> list[float]:
    """Estimated phones before each character, one value more than there are characters."""
    weights = [0.0]
    for sign in text:
        if sign.isdigit():
            weight = DIGIT_PHONES
        elif sign.isascii():
            weight = LETTER_PHONES if sign.isalpha() else 0.0
        else:
            weight = HANZI_PHONES if sign.isalnum() else 0.0
        weights.append(weights[-1] + weight)
    return weights
