"""Attention of new frames to kept ones: several blocks of keys, one behind the other.

A frame of a stream hears all frames up to the end of its own chunk, so chunks are attended one by
one without any mask. Heads of both guidance branches lie side by side on one axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SCORE_BYTES = 4 * 2**20  # of scores at a time: they stay in the cache


class Span(NamedTuple):
    """Queries `begin` to `end` hear the first `num_keys` frames of all blocks together."""

    begin: int
    end: int
    num_keys: int


def chunk_spans(begin: int, end: int, chunk_frames: int) -> list[Span]:
    """Spans of frames `begin` to `end`, counted from where keys begin, under the chunk mask."""
    spans, at = [], begin
    while at < end:
        stop = min(end, (at // chunk_frames + 1) * chunk_frames)
        spans.append(Span(at - begin, stop - begin, stop))
        at = stop
    return spans


def attend(q: Tensor, blocks: Sequence[Tensor], spans: Sequence[Span]) -> Tensor:
    """What queries hear.

    q:       (heads, frames, width), already scaled
    blocks:  (2, heads, frames, width) each, keys and values; may be of another float type
    returns: as `q`
    """
    how = _by_hand if q.device.type == "cpu" and q.dtype == torch.bfloat16 else _fused
    heard = [how(q[:, begin:end], _first(blocks, num, q.dtype)) for begin, end, num in spans]
    return heard[0] if len(heard) == 1 else torch.cat(heard, 1)


def _first(blocks: Sequence[Tensor], num_keys: int, dtype: torch.dtype) -> list[Tensor]:
    kept, left = [], num_keys
    for block in blocks:
        count = min(left, block.shape[2])
        if count:
            kept.append(block[:, :, :count].to(dtype))
        left -= count
    return kept


def _fused(q: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    both = blocks[0] if len(blocks) == 1 else torch.cat(tuple(blocks), 2)
    made = F.scaled_dot_product_attention(q[None], both[None, 0], both[None, 1], scale=1.0)
    return made[0]


def _by_hand(q: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    """Products and softmax apart: torch's fused kernel is slow for bfloat16 on CPUs without AMX.

    A few heads at a time. Measured on one thread of an AVX512-BF16 CPU, 32 heads of 674 by 674:
    fused 55 ms, all heads at once 25 to 37, this 21. Blocks are never joined, only their scores.
    """
    num_keys = sum(block.shape[2] for block in blocks)
    num_heads = max(1, SCORE_BYTES // (q.element_size() * q.shape[1] * num_keys))
    parts = [
        _hear(some, [block[:, begin : begin + num_heads] for block in blocks])
        for begin, some in zip(range(0, len(q), num_heads), torch.split(q, num_heads), strict=True)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _hear(q: Tensor, blocks: Sequence[Tensor]) -> Tensor:
    scores = [torch.bmm(q, block[0].mT) for block in blocks]
    shares = torch.softmax(scores[0] if len(scores) == 1 else torch.cat(scores, 2), -1)
    own = torch.split(shares, [block.shape[2] for block in blocks], 2)
    heard = torch.bmm(own[0], blocks[0][1])
    for part, block in zip(own[1:], blocks[1:], strict=True):
        heard = torch.baddbmm(heard, part, block[1])
    return heard
