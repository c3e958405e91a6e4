"""Version 2's encoder: speech tokens to one hidden frame per 20 ms, plain and by official keys.

Six blocks over tokens, a doubling of time, four blocks over frames; attention with relative
positions as in Transformer-XL and ESPnet. It is the reference that the packed encoder is measured
against, and what a checkpoint's names mean. Knows no caches.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kouji.models.cosyvoice.acoustic.lookahead import PreLookahead
from kouji.models.cosyvoice.config import FRAMES_PER_TOKEN, FlowConfig, UNetConfig

BLOCK_NORM_EPSILON = 1e-12
UP_TAPS = 5  # of the convolution behind the doubling: it sees four frames back


def relative_positions(first: int, last: int, width: int) -> Tensor:
    """Sinusoids of signed distances, as ESPnet's table has them, from the farthest past on.

    first, last: distances query - key, descending, both included; first >= last
    returns:     (first - last + 1, width) float32; sine on even channels, cosine on odd ones
    """
    distances = torch.arange(first, last - 1, -1, dtype=torch.float32).unsqueeze(1)
    exponents = torch.arange(0, width, 2, dtype=torch.float32)
    angles = distances * torch.exp(exponents * -(math.log(10_000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


def shift_to_keys(scores: Tensor, num_keys: int) -> Tensor:
    """Read scores per distance as scores per key, without a copy.

    scores:  (..., queries, distances), contiguous; distances fall by one from that of the last
             query to key 0 down to that of the first query to the last key
    returns: (..., queries, num_keys), a view
    """
    *leading, num_queries, num_distances = scores.shape
    assert num_distances == num_queries + num_keys - 1
    strides = (*scores.stride()[:-2], num_distances - 1, 1)
    start = scores.storage_offset() + num_queries - 1
    return scores.as_strided((*leading, num_queries, num_keys), strides, start)


def chunk_mask(num_positions: int, chunk: int) -> Tensor:
    """(queries, keys) bool: each sees everything up to the end of its own chunk."""
    positions = torch.arange(num_positions)
    return positions < ((positions // chunk + 1) * chunk).unsqueeze(1)


class RelativeAttention(nn.Module):
    """Content and distance score each key; both biases are learned."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(num_heads, width // num_heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(num_heads, width // num_heads))

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """Attend.

        x:         (batch, positions, width)
        positions: (2 * positions - 1, width), of distances positions - 1 down to 1 - positions
        mask:      (queries, keys) bool, True where seen; None: all
        """
        q, k, v = (
            linear(x).unflatten(2, (self.num_heads, -1))
            for linear in (self.linear_q, self.linear_k, self.linear_v)
        )
        p = self.linear_pos(positions).unflatten(1, (self.num_heads, -1)).transpose(0, 1)
        k, v = k.transpose(1, 2), v.transpose(1, 2)
        content = (q + self.pos_bias_u).transpose(1, 2) @ k.mT
        distance = (q + self.pos_bias_v).transpose(1, 2) @ p.mT
        scores = content + shift_to_keys(distance, x.shape[1])
        scores = scores / math.sqrt(k.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        seen = scores.softmax(dim=-1) @ v
        attended: Tensor = self.linear_out(seen.transpose(1, 2).flatten(2))
        return attended


class FeedForward(nn.Module):
    """Linear, SiLU, Linear."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(width, inner)
        self.w_2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Any leading axes."""
        y: Tensor = self.w_2(F.silu(self.w_1(x)))
        return y


class ConformerBlock(nn.Module):
    """Attention and feed-forward, normalised before; no convolution, no macaron."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width = config.encoder_dim
        self.self_attn = RelativeAttention(width, config.encoder_heads)
        self.feed_forward = FeedForward(width, config.encoder_ff)
        self.norm_mha = nn.LayerNorm(width, eps=BLOCK_NORM_EPSILON)
        self.norm_ff = nn.LayerNorm(width, eps=BLOCK_NORM_EPSILON)

    def forward(self, x: Tensor, positions: Tensor, mask: Tensor | None) -> Tensor:
        """As `RelativeAttention.forward`."""
        x = x + self.self_attn(self.norm_mha(x), positions, mask)
        y: Tensor = x + self.feed_forward(self.norm_ff(x))
        return y


class InputLayer(nn.Module):
    """Linear, LayerNorm, times the root of the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, positions, width) -> the same."""
        y: Tensor = self.out(x) * math.sqrt(x.shape[-1])
        return y


class UpLayer(nn.Module):
    """Each token twice, then a convolution that sees four frames back and none ahead."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, UP_TAPS)

    def __call__(self, x: Tensor, behind: Tensor | None = None) -> Tensor:
        """`forward`, with its type."""
        y: Tensor = super().__call__(x, behind)
        return y

    def forward(self, x: Tensor, behind: Tensor | None = None) -> Tensor:
        """Double.

        x:       (batch, tokens, width)
        behind:  (batch, up to 2 tokens, width) before `x`; fewer than 2: the sequence begins there
        returns: (batch, frames, width), of `x` alone
        """
        num_behind = 0 if behind is None else behind.shape[1]
        tokens = x if behind is None else torch.cat([behind, x], 1)
        frames = tokens.repeat_interleave(FRAMES_PER_TOKEN, dim=1).mT
        num_zeros = UP_TAPS - 1 - FRAMES_PER_TOKEN * num_behind
        y: Tensor = self.conv(F.pad(frames, (num_zeros, 0))).mT
        return y


class Conformer(nn.Module):
    """The whole encoder."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        sizes = config.estimator
        assert isinstance(sizes, UNetConfig)
        width = sizes.encoder_dim
        self.chunk_tokens = config.chunk_tokens
        self.embed = InputLayer(width)
        self.pre_lookahead_layer = PreLookahead(width, config.lookahead_channels)
        self.encoders = nn.ModuleList(ConformerBlock(sizes) for _ in range(sizes.num_blocks))
        self.up_layer = UpLayer(width)
        self.up_embed = InputLayer(width)
        self.up_encoders = nn.ModuleList(ConformerBlock(sizes) for _ in range(sizes.num_up_blocks))
        self.after_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, context: Tensor | None, *, is_streaming: bool) -> Tensor:
        """Encode.

        x:            (batch, tokens, width) embedded tokens
        context:      (batch, lookahead, width), the tokens behind them, where more will follow
        is_streaming: under the chunk mask; else everything sees everything
        returns:      (batch, frames, width)
        """
        x = self.embed(x)
        ahead = x[:, :0] if context is None else self.embed(context)
        x = self.pre_lookahead_layer(x, ahead)
        x = self._attend(self.encoders, x, self.chunk_tokens if is_streaming else None)
        x = self.up_embed(self.up_layer(x))
        chunk = self.chunk_tokens * FRAMES_PER_TOKEN
        x = self._attend(self.up_encoders, x, chunk if is_streaming else None)
        y: Tensor = self.after_norm(x)
        return y

    @staticmethod
    def _attend(blocks: nn.ModuleList, x: Tensor, chunk: int | None) -> Tensor:
        length, width = x.shape[1:]
        positions = relative_positions(length - 1, 1 - length, width).to(x)
        mask = None if chunk is None else chunk_mask(length, chunk).to(x.device)
        for block in blocks:
            x = block(x, positions, mask)
        return x
