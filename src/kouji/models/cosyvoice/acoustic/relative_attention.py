"""Attention with relative positions over a piece and what lies before it.

A score is content plus distance, (q + u) k + (q + v) p[i - j] (Transformer-XL, arXiv 1901.02860):
the distance stays what it is while a stream grows, so keys and values may be kept, and only the
table of distances gets longer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.cosyvoice.acoustic.conformer import shift_to_keys
from kouji.models.cosyvoice.acoustic.flow_attention import Span

MAX_PAIRS = 1 << 21  # queries times keys of one product: 64 MB in float32 with eight heads


def bounded(spans: Sequence[Span]) -> list[Span]:
    """The same spans, cut so that no product holds more than `MAX_PAIRS` scores per head."""
    cut = []
    for begin, end, num_keys in spans:
        step = max(1, MAX_PAIRS // num_keys)
        cut += [Span(at, min(at + step, end), num_keys) for at in range(begin, end, step)]
    return cut


def nearest_distance(spans: Sequence[Span]) -> int:
    """The least of all query - key: how far ahead a query sees, as a number below or at 0."""
    num_before = spans[-1].num_keys - spans[-1].end
    return min(num_before + span.begin - (span.num_keys - 1) for span in spans)


def attend_relative(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    p: Tensor,
    biases: tuple[Tensor, Tensor],
    spans: Sequence[Span],
) -> Tensor:
    """Attend, span by span.

    q:       (heads, new positions, width), of all spans, which follow each other
    k, v:    (heads, positions, width), from position 0 to the last of the new ones
    p:       (heads, distances, width), from positions - 1 down to `nearest_distance`
    biases:  of content and distance, (heads, 1, width) each
    returns: (new positions, heads * width)
    """
    content, distance = (q + bias.to(q) for bias in biases)
    heard = []
    for begin, end, num_keys in bounded(spans):
        skipped = q.shape[1] - end  # distances that none of these queries has
        p_seen = p[:, skipped : skipped + end - begin + num_keys - 1]
        scores = shift_to_keys(distance[:, begin:end] @ p_seen.mT, num_keys)
        mask = (scores / math.sqrt(q.shape[-1]))[None]
        seen = (k[None, :, :num_keys], v[None, :, :num_keys])
        heard.append(F.scaled_dot_product_attention(content[None, :, begin:end], *seen, mask)[0])
    return torch.cat(heard, dim=1).transpose(0, 1).flatten(1)
