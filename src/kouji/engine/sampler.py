"""Draws the next token of every row in one go, each row by its own options and its own seed.

    sampler = Sampler(vocabulary, num_slots, device)
    sampler.begin(slot, options, seed, history)      # again for a retry: forgets what was drawn
    drawn = sampler.draw(logits, slots, steps, min_tokens=[...], eos=eos, stops_on_argmax=True)
    drawn.tokens, drawn.is_end, drawn.is_bad         # one entry per row
    sampler.end(slot)

The order of operations and its peculiarities are those of GPT-SoVITS: penalty on every distinct
token used so far, top-p over the penalised logits before the temperature, top-k with ties, draw
argmax(p / q) with q ~ Exp(1). A row depends on its own logits, options, seed and step alone.
Rows whose logits are not finite are reported in `is_bad` and cost their neighbours nothing.
Knows slots and numbers; knows no requests, no text, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.engine.counter_random import exponential, row_keys
from kouji.errors import UsageError
from kouji.models.stages import SamplingOptions

MIN_TEMPERATURE = 1e-5  # colder is computed as this, which is greedy for any real logits
TIE_MARGIN = 16  # candidates fetched beyond the k-th, to hold its ties: bf16 logits tie often


class Drawn(NamedTuple):
    """What one step gave, one entry per row in the order of `slots`.

    tokens: the token drawn; the end token itself where it was drawn; -1 where `is_bad`
    is_end: the row has ended: `tokens` holds its end, not speech, and must not be spoken
    is_bad: the logits were NaN, +inf or all -inf: the row must fail; its other entries mean nothing
    """

    tokens: list[int]
    is_end: list[bool]
    is_bad: list[bool]


class OptionVectors(NamedTuple):
    """The options of several rows, one row below the other.

    temperature, top_p, penalty: (rows, 1) float32; top_p is inf in rows that keep all
    top_k:       (rows, 1) int64, from 1 to the vocabulary
    max_top_k:   the largest `top_k`
    uses_top_p:  some row has `top_p` below 1
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    penalty: Tensor
    max_top_k: int
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
            max(top_k),
            any(row.top_p < 1 for row in options),
        )


class _Candidates(NamedTuple):
    """The tokens still in the race, likeliest first, each (rows, candidates).

    ids:     int64 token ids
    weights: float32, proportional to the probability; 0 for what top-k and top-p remove
    """

    ids: Tensor
    weights: Tensor


class _Row(NamedTuple):
    """What a slot remembers between draws, beside its used tokens."""

    options: SamplingOptions
    seed: int


class _Batch(NamedTuple):
    """What stays the same while the same slots are drawn together."""

    index: Tensor
    vectors: OptionVectors
    seeds: list[int]


class Sampler:
    """Options, seeds and used tokens of all slots; one thread at a time."""

    def __init__(self, vocabulary: int, num_slots: int, device: torch.device | str) -> None:
        self.vocabulary, self.device = vocabulary, torch.device(device)
        self._rows: dict[int, _Row] = {}
        self._penalties = torch.ones(num_slots, vocabulary, device=self.device)  # 1 where unused
        self._batches: dict[tuple[int, ...], _Batch] = {}  # at most one: the last one drawn

    @property
    def num_active(self) -> int:
        """Slots begun and not ended."""
        return len(self._rows)

    @torch.inference_mode()
    def begin(self, slot: int, options: SamplingOptions, seed: int, history: Tensor) -> None:
        """Take a slot into use, or start it over.

        seed:    of this row alone; any integer
        history: (tokens,) int64 that the repetition penalty counts as used; may be empty
        raises:  UsageError for options out of range, see `check_options`
        """
        check_options(options)
        self._rows[slot] = _Row(options, seed)
        self._batches.clear()
        penalties = self._penalties[slot].fill_(1.0)
        penalties[history.to(self.device)] = options.repetition_penalty

    def end(self, slot: int) -> None:
        """Give a slot back; unknown slots are none of our business."""
        if self._rows.pop(slot, None) is not None:
            self._batches.clear()

    @torch.inference_mode()
    def draw(
        self,
        logits: Tensor,
        slots: Sequence[int],
        steps: Sequence[int],
        *,
        min_tokens: Sequence[int],
        eos: int,
        stops_on_argmax: bool,
    ) -> Drawn:
        """Draw one token in every row and count it as used.

        logits:          (rows, vocabulary) float32; left as it is
        slots:           of the rows, each begun before
        steps:           tokens drawn in each row before this one, 0 at first
        min_tokens:      `eos` cannot be drawn at steps below this
        stops_on_argmax: the likeliest token (after the penalty) being `eos` ends the row as well
        """
        batch = self._batch(tuple(slots))
        penalised = _penalise(logits, self._penalties.index_select(0, batch.index))
        self._forbid_end(penalised, steps, min_tokens, eos)
        best, argmax = penalised.max(dim=1)  # NaN wins, so `best` tells of every bad row
        ids, weights = _candidates(penalised, batch.vectors)
        keys = torch.tensor(row_keys(batch.seeds, steps)).unsqueeze(1).to(self.device)
        winner = (weights / exponential(keys, ids)).argmax(dim=1, keepdim=True)
        token = ids.gather(1, winner)
        self._penalties[batch.index, token.squeeze(1)] = batch.vectors.penalty.squeeze(1)
        # One transfer for all three: a float64 holds every token id exactly.
        facts = torch.stack((token.squeeze(1).double(), argmax.double(), best.double()))
        return _report(facts.tolist(), eos, stops_on_argmax)

    def _forbid_end(
        self, penalised: Tensor, steps: Sequence[int], min_tokens: Sequence[int], eos: int
    ) -> None:
        is_early = [step < least for step, least in zip(steps, min_tokens, strict=True)]
        if all(is_early):
            penalised[:, eos] = -math.inf
        elif any(is_early):
            rows = torch.tensor(is_early).nonzero().squeeze(1).to(self.device)
            penalised[rows, eos] = -math.inf

    def _batch(self, slots: tuple[int, ...]) -> _Batch:
        """The rows of these slots; kept, for the next step mostly asks for the same."""
        batch = self._batches.get(slots)
        if batch is None:
            rows = [self._rows[slot] for slot in slots]
            vectors = OptionVectors.of([row.options for row in rows], self.vocabulary, self.device)
            batch = _Batch(torch.tensor(slots).to(self.device), vectors, [row.seed for row in rows])
            self._batches = {slots: batch}
        return batch


def check_options(options: SamplingOptions) -> None:
    """Refuse options no distribution can be made from.

    raises: UsageError naming the option, the value seen and the range
    """
    is_count = isinstance(options.top_k, int) and not isinstance(options.top_k, bool)
    faults = (
        ("temperature", "0 or more", 0 <= options.temperature < math.inf),
        ("top_k", "an integer from 0 (keep all) up", is_count and options.top_k >= 0),
        ("top_p", "0 to 1", 0 <= options.top_p <= 1),
        ("repetition_penalty", "above 0", 0 < options.repetition_penalty < math.inf),
    )
    for name, allowed, is_right in faults:
        if not is_right:
            raise UsageError(f"wrong {name}", seen=getattr(options, name), allowed=allowed)


def probabilities(logits: Tensor, used: Tensor, options: OptionVectors) -> tuple[Tensor, Tensor]:
    """The distribution `Sampler.draw` draws from.

    logits:  (rows, vocabulary) float32
    used:    (rows, vocabulary) bool, tokens the repetition penalty applies to
    returns: (rows, vocabulary) probabilities, and the logits after the penalty alone
    """
    penalties = torch.where(used, options.penalty, 1.0)
    penalised = _penalise(logits, penalties)
    ids, weights = _candidates(penalised, options)
    shares = weights / weights.sum(dim=1, keepdim=True)
    return torch.zeros_like(logits).scatter_(1, ids, shares), penalised


def _penalise(logits: Tensor, penalties: Tensor) -> Tensor:
    """Divide what is positive, multiply what is negative: both move towards less likely."""
    return torch.where(logits < 0, logits * penalties, logits / penalties)


def _candidates(penalised: Tensor, options: OptionVectors) -> _Candidates:
    """Apply top-p, temperature and top-k, in this order."""
    values, ids = _likeliest(penalised, options)
    is_kept = values >= values.gather(1, options.top_k - 1)
    if options.uses_top_p:
        is_kept &= _within_top_p(penalised, ids, options.top_p)
    scaled = values / options.temperature
    return _Candidates(ids, (scaled - scaled[:, :1]).exp_().mul_(is_kept))


def _likeliest(penalised: Tensor, options: OptionVectors) -> tuple[Tensor, Tensor]:
    """Values and ids of at least the top-k tokens and all their ties, likeliest first.

    What is kept never depends on how many are fetched, hence not on the other rows. Fetching
    few is 20 times faster than sorting all on a CPU; on a GPU a sort costs less than the wait
    for the answer whether the ties fit.
    """
    vocabulary = penalised.shape[1]
    width = options.max_top_k + TIE_MARGIN
    if penalised.is_cpu and width < vocabulary:
        values, ids = penalised.topk(width, dim=1)
        if not bool((values[:, -1:] == values.gather(1, options.top_k - 1)).any()):
            return _ties_by_id(values, ids) if options.uses_top_p else (values, ids)
    values, ids = torch.sort(penalised, dim=1, descending=True, stable=True)
    return values, ids


def _ties_by_id(values: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The order of a stable sort: top-p may part tokens that tie."""
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


def _report(facts: list[list[float]], eos: int, stops_on_argmax: bool) -> Drawn:
    tokens, argmaxes, bests = facts
    is_bad = [not math.isfinite(best) for best in bests]
    is_end = [
        token == eos or (stops_on_argmax and argmax == eos)
        for token, argmax in zip(tokens, argmaxes, strict=True)
    ]
    drawn = [-1 if bad else int(token) for token, bad in zip(tokens, is_bad, strict=True)]
    return Drawn(drawn, [end and not bad for end, bad in zip(is_end, is_bad, strict=True)], is_bad)
