"""Repetition-aware sampling: a draw from the nucleus, and where it repeats itself, from all.

The rule is that of VALL-E 2 (Chen et al. 2024) in the form CosyVoice uses: the nucleus holds the
likeliest tokens up to and with the one that crosses `top_p`, at most `top_k`; a token drawn from
it that fills a certain share of the newest tokens is forbidden, and another is drawn from the
full distribution. Both draws invert the cumulative sum at a given uniform number, in float64.
Every row has its own options and hears of no other. Knows no seeds and no slots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.engine.distribution import MIN_TEMPERATURE, TIE_MARGIN, sort_ties_by_id
from kouji.models.stages import SamplingOptions


class AwareVectors(NamedTuple):
    """The options of several rows, one row below the other.

    temperature, top_p: (rows, 1) float32; top_p is inf in rows that keep all
    top_k:              (rows, 1) int64, from 1 to the vocabulary
    most_repeats:       (rows,) float64, from so many on a token is drawn again
    max_top_k:          the largest `top_k`
    windows:            of each row, in tokens
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    most_repeats: Tensor
    max_top_k: int
    windows: list[int]

    @classmethod
    def of(
        cls, options: Sequence[SamplingOptions], vocabulary: int, device: torch.device | str = "cpu"
    ) -> AwareVectors:
        """Line up options; `top_k` 0 and values beyond the vocabulary keep every token."""

        def column(values: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=dtype).unsqueeze(1).to(device, non_blocking=True)

        top_k = [min(row.top_k or vocabulary, vocabulary) for row in options]
        repeats = [row.repetition_window * row.repetition_share for row in options]
        return cls(
            column([max(row.temperature, MIN_TEMPERATURE) for row in options]),
            column(top_k, torch.int64),
            column([row.top_p if row.top_p < 1 else math.inf for row in options]),
            column(repeats, torch.float64).squeeze(1),
            max(top_k),
            [row.repetition_window for row in options],
        )

    def newest(self, tokens: Sequence[Sequence[int]]) -> Tensor:
        """The last tokens of each row, as many as its window holds.

        tokens:  of each row, those drawn so far
        returns: (rows, longest window) int64, -1 where a row has fewer
        """
        width = max(self.windows)
        windows = zip(tokens, self.windows, strict=True)
        kept = [list(row[-window:]) if window else [] for row, window in windows]
        rows = [[-1] * (width - len(row)) + row for row in kept]
        return torch.tensor(rows, dtype=torch.int64).to(self.top_k.device)


def draw_aware(logits: Tensor, options: AwareVectors, newest: Tensor, uniforms: Tensor) -> Tensor:
    """Draw a token in every row.

    logits:   (rows, vocabulary) float32, -inf for what may not be drawn
    newest:   (rows, tokens) int64, see `AwareVectors.newest`
    uniforms: (rows, 2) float64 in [0, 1): of the draw from the nucleus, of the draw from all
    returns:  (rows,) int64; without meaning in rows whose logits are not finite
    """
    scaled = logits / options.temperature
    token = _from_nucleus(scaled.softmax(dim=1), options, uniforms[:, :1])
    is_repeated = (newest == token).sum(dim=1) >= options.most_repeats
    if logits.is_cpu:  # elsewhere drawing again for all costs less than asking whether anybody must
        rows = is_repeated.nonzero().squeeze(1)
        if len(rows):
            token[rows] = _from_all_but(scaled[rows], token[rows], uniforms[rows, 1:])
        return token.squeeze(1)
    again = _from_all_but(scaled, token, uniforms[:, 1:])
    return torch.where(is_repeated.unsqueeze(1), again, token).squeeze(1)


def _from_nucleus(shares: Tensor, options: AwareVectors, uniforms: Tensor) -> Tensor:
    """(rows, 1) ids drawn from the likeliest tokens of (rows, vocabulary) probabilities."""
    values, ids = _likeliest(shares, options)
    values = values.double()
    ranks = torch.arange(values.shape[1], device=values.device)
    before = values.cumsum(dim=1) - values
    # The first is kept whatever `top_p` says. The sum is compared as float32, as officially.
    is_kept = (before.float() < options.top_p) & (ranks < options.top_k)
    is_kept[:, 0] = True
    return ids.gather(1, _invert(values * is_kept, uniforms))


def _likeliest(shares: Tensor, options: AwareVectors) -> tuple[Tensor, Tensor]:
    """At least the `top_k` likeliest of each row, sorted, the smaller id first among equals."""
    width = options.max_top_k + TIE_MARGIN
    if shares.is_cpu and width < shares.shape[1]:
        values, ids = shares.topk(width, dim=1)
        # Ties across the edge of what was fetched: the smaller ids may not be among it.
        if not bool((values[:, -1:] == values.gather(1, options.top_k - 1)).any()):
            return sort_ties_by_id(values, ids)
    values, ids = torch.sort(shares, dim=1, descending=True, stable=True)
    return values[:, : options.max_top_k], ids[:, : options.max_top_k]


def _from_all_but(scaled: Tensor, token: Tensor, uniforms: Tensor) -> Tensor:
    """(rows, 1) ids drawn from all but `token` (rows, 1), which stays where it is alone."""
    shares = scaled.scatter(1, token, -math.inf).softmax(dim=1).double()
    is_alone = ~(shares.sum(dim=1, keepdim=True) > 0)  # nor NaN
    return torch.where(is_alone, token, _invert(shares, uniforms))


def _invert(weights: Tensor, uniforms: Tensor) -> Tensor:
    """The first place whose cumulative weight exceeds the uniform share of the sum.

    weights:  (rows, places) float64, at least 0
    uniforms: (rows, 1) float64
    returns:  (rows, 1) int64; never a place of weight 0
    """
    cumulative = weights.cumsum(dim=1)
    total = cumulative[:, -1:]
    place = (cumulative <= uniforms * total).sum(dim=1, keepdim=True)
    # A uniform so near to 1 that the product rounds up to the sum stays in the last place.
    return torch.minimum(place, (cumulative < total).sum(dim=1, keepdim=True))
