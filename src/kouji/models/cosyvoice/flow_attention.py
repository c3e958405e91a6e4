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

Block = tuple[Tensor, Tensor]  # keys and values, (heads, frames, width)


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


def attend(q: Tensor, blocks: Sequence[Block], spans: Sequence[Span]) -> Tensor:
    """(heads, frames, width) -> the same; q comes scaled, and blocks may be of another type."""
    how = _by_hand if q.device.type == "cpu" and q.dtype == torch.bfloat16 else _fused
    heard = [how(q[:, begin:end], _cut(blocks, num, q.dtype)) for begin, end, num in spans]
    return heard[0] if len(heard) == 1 else torch.cat(heard, 1)


def _cut(blocks: Sequence[Block], num_keys: int, dtype: torch.dtype) -> list[Block]:
    kept, left = [], num_keys
    for keys, values in blocks:
        count = min(left, keys.shape[1])
        if count:
            kept.append((keys[:, :count].to(dtype), values[:, :count].to(dtype)))
        left -= count
    return kept


def _fused(q: Tensor, blocks: Sequence[Block]) -> Tensor:
    keys, values = blocks[0] if len(blocks) == 1 else map(_join, zip(*blocks, strict=True))
    made = F.scaled_dot_product_attention(q[None], keys[None], values[None], scale=1.0)
    return made[0]


def _join(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(tuple(parts), 1)


def _by_hand(q: Tensor, blocks: Sequence[Block]) -> Tensor:
    """Products and softmax apart: torch's fused kernel is slow for bfloat16 on CPUs without AMX.

    Measured on one thread of an AVX512-BF16 CPU, 32 heads of 674 by 674: fused 55 ms, this 25.
    Blocks are never joined: only their scores are.
    """
    scores = [torch.bmm(q, keys.mT) for keys, _ in blocks]
    shares = torch.softmax(scores[0] if len(scores) == 1 else torch.cat(scores, 2), -1)
    heard, at = None, 0
    for keys, values in blocks:
        part = shares[:, :, at : at + keys.shape[1]]
        at += keys.shape[1]
        heard = torch.bmm(part, values) if heard is None else torch.baddbmm(heard, part, values)
    assert heard is not None
    return heard
