"""The distribution a token is drawn from: penalty, top-p, temperature, top-k, in this order.

The order and its peculiarities are those of GPT-SoVITS: the penalty falls on every distinct
token used so far, top-p looks at the logits before the temperature, and keeps one token less
than usual; top-k keeps ties. Every row has its own options. Knows no seeds and no slots.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.errors import UsageError
from kouji.models.stages import SamplingOptions

MIN_TEMPERATURE = 1e-5  # colder is computed as this, which is greedy for any real logits
TIE_MARGIN = 16  # candidates fetched beyond the k-th, to hold its ties: bf16 logits tie often


class OptionVectors(NamedTuple):
    """The options of several rows, one row below the other.

    temperature, top_p, penalty: (rows, 1) float32; top_p is inf in rows that keep all
    top_k:       (rows, 1) int64, from 1 to the vocabulary
    max_top_k:   the largest `top_k` below the vocabulary; 0 without one
    keeps_all:   some row has no `top_k`
    uses_top_p:  some row has `top_p` below 1
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    penalty: Tensor
    max_top_k: int
    keeps_all: bool
    uses_top_p: bool

    @classmethod
    def of(
        cls, options: Sequence[SamplingOptions], vocabulary: int, device: torch.device | str = "cpu"
    ) -> OptionVectors:
        """Line up options; `top_k` 0 and values beyond the vocabulary keep every token."""

        def column(values: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=dtype).unsqueeze(1).to(device, non_blocking=True)

        top_k = [min(row.top_k or vocabulary, vocabulary) for row in options]
        return cls(
            column([max(row.temperature, MIN_TEMPERATURE) for row in options]),
            column(top_k, torch.int64),
            column([row.top_p if row.top_p < 1 else math.inf for row in options]),
            column([row.repetition_penalty for row in options]),
            max((count for count in top_k if count < vocabulary), default=0),
            max(top_k) == vocabulary,
            any(row.top_p < 1 for row in options),
        )


class Candidates(NamedTuple):
    """The tokens still in the race, likeliest first, each (rows, candidates).

    ids:     int64 token ids
    weights: float32, proportional to the probability; 0 for what top-k and top-p remove
    """

    ids: Tensor
    weights: Tensor


def check_options(options: SamplingOptions) -> None:
    """Refuse options no distribution can be made from.

    raises: UsageError naming the option, the value seen and the range
    """
    window, share = options.repetition_window, options.repetition_share
    faults = (
        ("temperature", "0 or more", 0 <= options.temperature < math.inf),
        ("top_k", "an integer from 0 (keep all) up", _is_count(options.top_k)),
        ("top_p", "0 to 1", 0 <= options.top_p <= 1),
        ("repetition_penalty", "above 0", 0 < options.repetition_penalty < math.inf),
        ("repetition_window", "an integer from 0 (none) to 1000", _is_count(window, 1000)),
        ("repetition_share", "0 or more", 0 <= share < math.inf),
    )
    for name, allowed, is_right in faults:
        if not is_right:
            raise UsageError(f"wrong {name}", seen=getattr(options, name), allowed=allowed)


def _is_count(value: object, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def probabilities(logits: Tensor, used: Tensor, options: OptionVectors) -> tuple[Tensor, Tensor]:
    """The distribution `Sampler.draw` draws from.

    logits:  (rows, vocabulary) float32
    used:    (rows, vocabulary) bool, tokens the repetition penalty applies to
    returns: (rows, vocabulary) probabilities, and the logits after the penalty alone
    """
    penalties = torch.where(used, options.penalty, 1.0)
    penalised = penalise(logits, penalties)
    ids, weights = candidates(penalised, options)
    shares = weights / weights.sum(dim=1, keepdim=True)
    return torch.zeros_like(logits).scatter_(1, ids, shares), penalised


def penalise(logits: Tensor, penalties: Tensor) -> Tensor:
    """Divide what is positive, multiply what is negative: both move towards less likely."""
    return torch.where(logits < 0, logits * penalties, logits / penalties)


def candidates(penalised: Tensor, options: OptionVectors) -> Candidates:
    """Apply top-p, temperature and top-k, in this order.

    What is kept never depends on which tokens were fetched, hence not on the other rows.
    """
    values, ids, threshold = _likeliest(penalised, options)
    is_kept = values >= threshold
    if options.uses_top_p:
        is_kept &= _within_top_p(penalised, ids, options.top_p)
    scaled = values / options.temperature
    peak = scaled.amax(dim=1, keepdim=True)
    return Candidates(ids, (scaled - peak).exp_().mul_(is_kept))


class _Fetched(NamedTuple):
    """values, ids: (rows, candidates), sorted where top-p needs it; threshold: (rows, 1)."""

    values: Tensor
    ids: Tensor
    threshold: Tensor


def _likeliest(penalised: Tensor, options: OptionVectors) -> _Fetched:
    """The top-k tokens with all their ties, and perhaps others; and the k-th largest value.

    On a CPU fetching few is several times faster than working on all. On a GPU working on all
    costs less than waiting for the answer whether the ties fit.
    """
    vocabulary = penalised.shape[1]
    width = vocabulary if options.keeps_all else options.max_top_k + TIE_MARGIN
    if penalised.is_cpu and width < vocabulary:
        values, ids = penalised.topk(width, dim=1)
        threshold = values.gather(1, options.top_k - 1)
        if not bool((values[:, -1:] == threshold).any()):
            values, ids = sort_ties_by_id(values, ids) if options.uses_top_p else (values, ids)
            return _Fetched(values, ids, threshold)
    if options.uses_top_p:
        values, ids = torch.sort(penalised, dim=1, descending=True, stable=True)
        return _Fetched(values, ids, values.gather(1, options.top_k - 1))
    ids = torch.arange(vocabulary, device=penalised.device).expand_as(penalised)
    return _Fetched(penalised, ids, _kth_largest(penalised, options))


def _kth_largest(penalised: Tensor, options: OptionVectors) -> Tensor:
    """The value below which top-k removes: (rows, 1), -inf in rows that keep all."""
    if options.max_top_k == 0:
        return torch.full_like(options.temperature, -math.inf)
    values = penalised.topk(options.max_top_k, dim=1).values
    found = values.gather(1, options.top_k.clamp(max=options.max_top_k) - 1)
    return torch.where(options.top_k < penalised.shape[1], found, -math.inf)


def sort_ties_by_id(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The order of a stable sort, of what `topk` found: top-p may part tokens that tie."""
    ids, order = ids.sort(dim=1)
    values, order = torch.sort(values.gather(1, order), dim=1, descending=True, stable=True)
    return values, ids.gather(1, order)


def _within_top_p(penalised: Tensor, ids: Tensor, top_p: Tensor) -> Tensor:
    """Which candidates top-p keeps: (rows, candidates) bool.

    As the official code does, over the logits before the temperature, and without the usual
    shift by one: the token that crosses the threshold goes too, except the very first.
    """
    cumulative = penalised.softmax(dim=1).gather(1, ids).cumsum(dim=1)
    is_kept = cumulative <= top_p
    is_kept[:, 0] = True
    return is_kept
