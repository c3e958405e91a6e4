"""Speech tokens as CosyVoice draws them: one text, one token after another.

The yardstick of the engine, in numbers (which tokens at which random numbers, upstream's own rules
of how short and how long) and in time: float32, one request, caches grown by concatenation. The
product decodes with `lm_decoder`; this file is for goldens and benchmarks. Text that is still
being written is the business of `bistream`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.models.cosyvoice.config import SamplingConfig
from kouji.models.cosyvoice.decode.lm import Pair, SpeechLM

MIN_RATIO, MAX_RATIO = 2.0, 20.0  # speech tokens per text token

Draw = Callable[[Tensor], int]  # a place of (places,) float32 weights, in proportion to them


class Pick(NamedTuple):
    """A draw from the nucleus and, where that repeats itself, the draw from all others."""

    first: int
    again: int | None = None

    @property
    def token(self) -> int:
        """The one that counts."""
        return self.first if self.again is None else self.again


@dataclass(frozen=True)
class Decoded:
    """What upstream makes of one text.

    tokens: speech tokens
    picks:  how they were drawn; one more than `tokens` where a stop id was drawn
    """

    tokens: list[int]
    picks: list[Pick]

    @property
    def is_stopped(self) -> bool:
        """The model ended it, not the limit."""
        return len(self.picks) > len(self.tokens)


def inverse_draw(uniforms: Iterator[float]) -> Draw:
    """Each draw takes the next of the given numbers in [0, 1) and inverts the cumulative sum."""

    def draw(weights: Tensor) -> int:
        cumulative = weights.double().cumsum(0)
        wanted = next(uniforms) * cumulative[-1]
        return int((cumulative <= wanted).sum().clamp(max=len(weights) - 1))

    return draw


def torch_draw(rng: torch.Generator | None = None) -> Draw:
    """Draws of `torch.multinomial`, as upstream; None takes torch's shared generator."""
    return lambda weights: int(torch.multinomial(weights, 1, replacement=True, generator=rng))


def nucleus(logp: Tensor, sampling: SamplingConfig) -> tuple[Tensor, Tensor]:
    """The likeliest ids, up to and with the one that crosses `top_p`; at most `top_k`.

    logp:    (vocabulary,) unnormalised log-probabilities
    returns: (kept,) probabilities in falling order and their ids, equal ones by id
    """
    ordered, ids = logp.softmax(0).sort(descending=True, stable=True)
    ordered, ids = ordered[: sampling.top_k], ids[: sampling.top_k]
    before = ordered.cumsum(0) - ordered
    num_kept = max(1, int((before < sampling.top_p).sum()))
    return ordered[:num_kept], ids[:num_kept]


def draw_aware(logp: Tensor, made: list[int], draw: Draw, sampling: SamplingConfig) -> Pick:
    """Repetition-aware sampling (arXiv:2406.05370).

    logp: (vocabulary,) log-probabilities, -inf for ids that may not be drawn
    made: tokens so far
    """
    weights, ids = nucleus(logp, sampling)
    first = int(ids[draw(weights)])
    if made[-sampling.window :].count(first) < sampling.window * sampling.share:
        return Pick(first)
    others = logp.clone()
    others[first] = -torch.inf
    return Pick(first, draw(others.softmax(0)))


@torch.inference_mode()
def decode(
    network: SpeechLM,
    prompt_text: Tensor,
    text: Tensor,
    prompt_speech: Tensor,
    draw: Draw,
    *,
    sampling: SamplingConfig | None = None,
    min_ratio: float = MIN_RATIO,
    max_ratio: float = MAX_RATIO,
) -> Decoded:
    """Decode one text; each input (ids,) int64.

    Upstream holds back `codebook` until the minimum is reached: the end token in version 2. In
    version 3 that is the id of the beginning, so speech may end at once there.
    """
    options = sampling or SamplingConfig()
    config = network.config
    decoded = Decoded([], [])
    x = network.embed(prompt_text, text, prompt_speech)
    past: list[Pair] | None = None
    for number in range(int(max_ratio * len(text))):
        hidden, past = network(x, past)
        logp = network.logits(hidden[0, -1]).log_softmax(0)
        if number < int(min_ratio * len(text)):
            logp[config.codebook] = -torch.inf
        pick = draw_aware(logp, decoded.tokens, draw, options)
        decoded.picks.append(pick)
        if pick.token >= config.first_stop:
            break
        decoded.tokens.append(pick.token)
        x = network.embed_speech(torch.tensor([[pick.token]]))
    return decoded
