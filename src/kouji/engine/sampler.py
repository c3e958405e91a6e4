"""Draws the next token of every row in one go, each row by its own options and its own seed.

    sampler = Sampler(vocabulary, num_slots, device)
    sampler.begin(slot, options, seed, history)      # again for a retry: forgets what was drawn
    drawn = sampler.draw(logits, slots, steps, min_tokens=[...], eos=eos, stops_on_argmax=True)
    drawn.tokens, drawn.is_end, drawn.is_bad         # one entry per row
    sampler.end(slot)

What is drawn from is `distribution`'s business; the draw is argmax(p / q) with q ~ Exp(1), which
is a draw from p. Rows that sample aware of repetition are `ras`' business in both. A row depends
on its own logits, options, seed, tokens and step alone.
Rows whose logits are not finite are reported in `is_bad` and cost their neighbours nothing.
Knows slots and numbers; knows no requests, no text, no clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.engine.counter_random import exponential, row_keys, uniform
from kouji.engine.distribution import OptionVectors, candidates, check_options, penalise
from kouji.engine.ras import AwareVectors, draw_aware
from kouji.models.stages import SamplingOptions


class Drawn(NamedTuple):
    """What one step gave, one entry per row in the order of `slots`.

    tokens: the token drawn; the end token itself where it was drawn; -1 where `is_bad`
    is_end: `tokens` holds an id that ends the row, not speech, and must not be spoken
    is_bad: the logits were NaN, +inf or all -inf: the row must fail; its other entries mean nothing
    """

    tokens: list[int]
    is_end: list[bool]
    is_bad: list[bool]


class _Row(NamedTuple):
    """What a slot remembers between draws, beside its used tokens."""

    options: SamplingOptions
    seed: int


@dataclass(frozen=True)
class _Batch:
    """What stays the same while the same slots are drawn together.

    vectors, aware: of all rows; None where no row is drawn in that way
    is_aware:       (rows, 1) bool, rows that sample aware of repetition; None unless both ways meet
    penalty:        (rows,) float32, that a token counts as used with; None where it changes nothing
    """

    index: Tensor
    vectors: OptionVectors | None
    aware: AwareVectors | None
    is_aware: Tensor | None
    penalty: Tensor | None
    seeds: list[int]

    @classmethod
    def of(
        cls, slots: Sequence[int], rows: Sequence[_Row], vocabulary: int, device: torch.device
    ) -> _Batch:
        """Line up the rows of some slots."""
        options = [row.options for row in rows]
        is_aware = [each.repetition_window > 0 for each in options]
        penalties = [each.repetition_penalty for each in options]
        is_mixed = any(is_aware) and not all(is_aware)
        return cls(
            torch.tensor(slots).to(device),
            None if all(is_aware) else OptionVectors.of(options, vocabulary, device),
            AwareVectors.of(options, vocabulary, device) if any(is_aware) else None,
            torch.tensor(is_aware).unsqueeze(1).to(device) if is_mixed else None,
            torch.tensor(penalties).to(device) if any(each != 1 for each in penalties) else None,
            [row.seed for row in rows],
        )


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
        drawn_before: Sequence[Sequence[int]] | None = None,
        allowed: Sequence[Sequence[int] | None] | None = None,
    ) -> Drawn:
        """Draw one token in every row and count it as used.

        logits:          (rows, vocabulary) float32; left as it is
        slots:           of the rows, each begun before
        steps:           tokens drawn in each row before this one, 0 at first
        min_tokens:      no id from `eos` on can be drawn at steps below this
        eos:             the first of the ids that end a row
        stops_on_argmax: the likeliest token (after the penalty) from `eos` on ends the row as well
        drawn_before:    the tokens of each row, the newest last; needed by those that sample aware
                         of repetition
        allowed:         where not None, the only ids from `eos` on that can be drawn in a row,
                         whatever its step
        """
        batch = self._batch(tuple(slots))
        if batch.penalty is None:
            penalised = logits.clone()
        else:
            penalised = penalise(logits, self._penalties.index_select(0, batch.index))
        self._forbid_ends(penalised, steps, min_tokens, eos, allowed)
        best, argmax = penalised.max(dim=1)  # NaN wins, so `best` tells of every bad row
        keys = torch.tensor(row_keys(batch.seeds, steps)).unsqueeze(1).to(self.device)
        token = _draw(penalised, batch, keys, drawn_before)
        # One transfer for all three: a float64 holds every token id exactly.
        facts = torch.stack((token.double(), argmax.double(), best.double())).tolist()
        # Last, so that a draw that failed halfway can be made again and comes out the same.
        if batch.penalty is not None:
            self._penalties[batch.index, token] = batch.penalty
        return _report(facts, eos, stops_on_argmax)

    def _forbid_ends(
        self,
        penalised: Tensor,
        steps: Sequence[int],
        min_tokens: Sequence[int],
        eos: int,
        allowed: Sequence[Sequence[int] | None] | None,
    ) -> None:
        """Mask the ends that may not be drawn in each row."""
        chosen = allowed or [None] * len(steps)
        is_early = [step < least for step, least in zip(steps, min_tokens, strict=True)]
        is_masked = [early or ids is not None for early, ids in zip(is_early, chosen, strict=True)]
        kept = [(row, one) for row, ids in enumerate(chosen) for one in ids or ()]
        values = [penalised[row, one].clone() for row, one in kept]
        if all(is_masked):
            penalised[:, eos:] = -math.inf
        elif any(is_masked):
            rows = torch.tensor(is_masked).nonzero().squeeze(1).to(self.device)
            penalised[rows, eos:] = -math.inf
        for (row, one), value in zip(kept, values, strict=True):
            penalised[row, one] = value

    def _batch(self, slots: tuple[int, ...]) -> _Batch:
        """The rows of these slots; kept, for the next step mostly asks for the same."""
        batch = self._batches.get(slots)
        if batch is None:
            rows = [self._rows[slot] for slot in slots]
            batch = _Batch.of(slots, rows, self.vocabulary, self.device)
            self._batches = {slots: batch}
        return batch


def _draw(
    penalised: Tensor,
    batch: _Batch,
    keys: Tensor,
    drawn_before: Sequence[Sequence[int]] | None,
) -> Tensor:
    """(rows,) ids, each row's drawn in its own way."""
    plain = aware = None
    if batch.vectors is not None:
        ids, weights = candidates(penalised, batch.vectors)
        winner = (weights / exponential(keys, ids)).argmax(dim=1, keepdim=True)
        plain = ids.gather(1, winner).squeeze(1)
    if batch.aware is not None:
        assert drawn_before is not None, "rows aware of repetition need to know what was drawn"
        uniforms = uniform(keys, torch.arange(2, device=keys.device))
        aware = draw_aware(penalised, batch.aware, batch.aware.newest(drawn_before), uniforms)
    if plain is None or aware is None:
        token = aware if plain is None else plain
        assert token is not None
        return token
    assert batch.is_aware is not None
    return torch.where(batch.is_aware.squeeze(1), aware, plain)


def _report(facts: list[list[float]], eos: int, stops_on_argmax: bool) -> Drawn:
    tokens, argmaxes, bests = facts
    is_bad = [not math.isfinite(best) for best in bests]
    is_end = [
        token >= eos or (stops_on_argmax and argmax >= eos)
        for token, argmax in zip(tokens, argmaxes, strict=True)
    ]
    drawn = [-1 if bad else int(token) for token, bad in zip(tokens, is_bad, strict=True)]
    return Drawn(drawn, [end and not bad for end, bad in zip(is_end, is_bad, strict=True)], is_bad)
