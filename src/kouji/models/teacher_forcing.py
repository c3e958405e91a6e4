"""How near a rounded decoder stays to the exact one, teacher-forced: both read the same tokens.

Free-running token sequences part for good after one different draw and so measure nothing;
with forced tokens every position is a fair comparison of two distributions. Knows decoders of any
family; how tokens are drawn is the family's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kouji.models.stages import Decoder

CONFIDENT_MARGIN = 0.5  # nats between the two likeliest tokens of the exact decoder

# From (1, vocabulary) logits, changed at will, and (1, tokens) int64 tokens so far: (1,) int64.
Draw = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PrecisionReport:
    """Agreement over `num_positions` distributions.

    top1_agreement:      share of positions with the same likeliest token
    num_confident:       positions where the exact decoder's margin exceeds `CONFIDENT_MARGIN`
    confident_agreement: the same share among those; 1 where there are none
    mean_kl:             mean of KL(exact || rounded), in nats
    """

    num_positions: int
    top1_agreement: float
    num_confident: int
    confident_agreement: float
    mean_kl: float


@torch.inference_mode()
def compare_decoders(
    exact: Decoder,
    rounded: Decoder,
    inputs: Sequence[tuple[Any, Any]],
    draw: Draw,
    *,
    num_tokens: int,
) -> PrecisionReport:
    """Decode `num_tokens` in every input with both decoders over the tokens the exact one draws.

    inputs: segments and the conditioning of their voices
    draw:   tokens that end a row are never offered, so that all rows run on
    """
    runs = [_Run(exact, inputs, num_tokens), _Run(rounded, inputs, num_tokens)]
    used = [prompt.history for prompt in runs[0].prompts]
    compared: list[tuple[Tensor, Tensor]] = []
    for _ in range(num_tokens):
        logits = runs[0].logits.cpu(), runs[1].logits.cpu()
        compared.append(logits)
        tokens = []
        for row, history in enumerate(used):
            scores = logits[0][row : row + 1].clone()
            scores[:, exact.eos :] = -torch.inf
            tokens.append(draw(scores, history.unsqueeze(0)))
        used = [torch.cat(row) for row in zip(used, tokens, strict=True)]
        for run in runs:
            run.step(torch.cat(tokens))
    return _report(*(torch.cat(part) for part in zip(*compared, strict=True)))


class _Run:
    """One decoder over all inputs in one batch; `logits` are those of the next token."""

    def __init__(
        self, decoder: Decoder, inputs: Sequence[tuple[Any, Any]], num_tokens: int
    ) -> None:
        self.decoder = decoder
        self.prompts = [decoder.prompt(*pair) for pair in inputs]
        longest = max(prompt.num_positions for prompt in self.prompts)
        self.cache = decoder.new_cache(len(inputs), longest + num_tokens)
        self.logits = decoder.prefill(self.prompts, self.cache, range(len(inputs)))
        self.slots, self.positions, self.lengths = (
            torch.tensor(numbers, device=self.logits.device)
            for numbers in (
                list(range(len(inputs))),
                [prompt.next_position for prompt in self.prompts],
                [prompt.num_positions for prompt in self.prompts],
            )
        )

    def step(self, tokens: Tensor) -> None:
        tokens = tokens.to(self.logits.device)
        self.logits = self.decoder.step(
            tokens, self.positions, self.lengths, self.slots, self.cache
        )
        self.positions = self.positions + 1
        self.lengths = self.lengths + 1


def _report(exact: Tensor, rounded: Tensor) -> PrecisionReport:
    """Compare two (positions, vocabulary) logits."""
    ours, theirs = exact.double().log_softmax(-1), rounded.double().log_softmax(-1)
    best = ours.topk(2).values
    is_same = ours.argmax(-1) == theirs.argmax(-1)
    is_confident = best[:, 0] - best[:, 1] > CONFIDENT_MARGIN
    num_confident = int(is_confident.sum())
    return PrecisionReport(
        num_positions=len(exact),
        top1_agreement=float(is_same.double().mean()),
        num_confident=num_confident,
        confident_agreement=float(is_same[is_confident].double().mean()) if num_confident else 1.0,
        mean_kl=float((ours.exp() * (ours - theirs)).sum(-1).mean()),
    )
