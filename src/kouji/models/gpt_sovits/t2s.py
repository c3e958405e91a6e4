"""The first network of GPT-SoVITS (T2S): phones and a spoken prompt to semantic tokens.

A decoder-only transformer over [phones | tokens]: phones see all phones, tokens see all phones
and the tokens before them. Names of modules are those of the official checkpoints, so weights
load without a table. This file knows one forward pass in plain torch, the reference all faster
paths are compared with; loops over tokens are in `official_decode` and `decoder`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kouji.models.gpt_sovits.config import T2SConfig
from kouji.models.gpt_sovits.keys import expected_t2s, require_keys

KEY_PREFIX = "model."
NORM_EPSILON = 1e-5
Pair = tuple[Tensor, Tensor]  # keys and values of one layer, (batch, positions, channels)


class Embedding(nn.Module):
    """A lookup table under its official name."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(rows, width)

    def forward(self, ids: Tensor) -> Tensor:
        """Look up (..., ids) int64; returns (..., ids, channels)."""
        found: Tensor = self.word_embeddings(ids)
        return found


class Positions(nn.Module):
    """Interleaved sinusoids scaled by one learned number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1))
        self.width = width
        self.table = torch.empty(0, width)

    def rows(self, num_rows: int) -> Tensor:
        """The first rows of the table, unscaled, (positions, channels); it grows on demand."""
        if len(self.table) < num_rows or self.table.device != self.alpha.device:
            self.table = sinusoids(max(num_rows, 4000), self.width).to(self.alpha.device)
        return self.table[:num_rows]

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add positions start, start + 1, ... to (..., positions, channels)."""
        return x + self.alpha * self.rows(start + x.shape[-2])[start:].to(x.dtype)


def sinusoids(num_rows: int, width: int) -> Tensor:
    """Position vectors, sine and cosine interleaved, base 10000: (positions, channels) float32."""
    positions = torch.arange(num_rows, dtype=torch.float32).unsqueeze(1)
    steps = torch.arange(0, width, 2, dtype=torch.float32)
    angles = positions * torch.exp(steps * -(math.log(10_000.0) / width))
    return torch.stack([angles.sin(), angles.cos()], dim=2).reshape(num_rows, -1)[:, :width]


class Attention(nn.Module):
    """Multi-head attention with one packed projection for queries, keys and values."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, x: Tensor, mask: Tensor | None, past: Pair | None) -> tuple[Tensor, Pair]:
        """Attend from `x` (batch, new, channels) to `past` and itself.

        mask:    (batch or 1, 1, new, all) bool, True may be seen; None: everything
        returns: (batch, new, channels), and the keys and values of past and new
        """
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
        query, key, value = (split_heads(t, self.num_heads) for t in (q, k, v))
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.out_proj(seen.transpose(1, 2).flatten(2))
        return out, (k, v)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(batch, positions, channels) to (batch, heads, positions, channels of a head)."""
    return x.view(*x.shape[:2], num_heads, -1).transpose(1, 2)


class Block(nn.Module):
    """One transformer block, normalised after each residual sum."""

    def __init__(self, width: int, num_heads: int, feed_forward: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, num_heads)
        self.linear1 = nn.Linear(width, feed_forward)
        self.linear2 = nn.Linear(feed_forward, width)
        self.norm1 = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.norm2 = nn.LayerNorm(width, eps=NORM_EPSILON)

    def forward(self, x: Tensor, mask: Tensor | None, past: Pair | None) -> tuple[Tensor, Pair]:
        """As `Attention.forward`."""
        seen, pair = self.self_attn(x, mask, past)
        x = self.norm1(x + seen)
        x = self.norm2(x + self.linear2(F.relu(self.linear1(x))))
        return x, pair


class Stack(nn.Module):
    """The blocks under their official name."""

    def __init__(self, config: T2SConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Block(config.hidden, config.num_heads, config.feed_forward)
            for _ in range(config.num_layers)
        )


class T2S(nn.Module):
    """The network with official names and official numbers."""

    def __init__(self, config: T2SConfig) -> None:
        """Make one with random weights."""
        super().__init__()
        self.config = config
        self.bert_proj = nn.Linear(config.bert_channels, config.hidden)
        self.ar_text_embedding = Embedding(config.num_phones, config.hidden)
        self.ar_text_position = Positions(config.hidden)
        self.ar_audio_embedding = Embedding(config.vocabulary, config.hidden)
        self.ar_audio_position = Positions(config.hidden)
        self.h = Stack(config)
        self.ar_predict_layer = nn.Linear(config.hidden, config.vocabulary, bias=False)

    @classmethod
    def from_state(cls, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> T2S:
        """Build from a checkpoint's `weight` (any float format) and `config`; result is float32.

        raises: ModelError naming missing, unexpected and wrongly shaped tensors
        """
        sizes = T2SConfig.from_checkpoint(config, weights)
        with torch.device("meta"):  # no random numbers are drawn, no memory is taken twice
            network = cls(sizes)
        expected = network.state_dict()
        require_keys(weights, expected_t2s(sizes), "T2S weights")
        ours = {
            name: weights[KEY_PREFIX + name].detach().to(torch.float32, copy=True)
            for name in expected
        }
        network.load_state_dict(ours, assign=True)
        return network.eval().requires_grad_(False)

    @property
    def blocks(self) -> list[Block]:
        """The transformer blocks in order."""
        return [block for block in self.h.layers if isinstance(block, Block)]

    def embed_phones(self, phones: Tensor, bert: Tensor) -> Tensor:
        """Phones (..., phones) and BERT (..., phones, channels) to (..., phones, channels).

        The projection's bias is added also where the features are zero, as upstream does.
        """
        embedded: Tensor = self.ar_text_embedding(phones) + self.bert_proj(bert)
        return embedded

    def forward(
        self, x: Tensor, mask: Tensor | None = None, past: list[Pair] | None = None
    ) -> tuple[Tensor, list[Pair]]:
        """Run all blocks.

        x:       (batch, new, channels) embedded input with positions added
        mask:    (batch or 1, 1, new, all) bool, True may be seen
        past:    keys and values per layer, from the call before
        returns: (batch, new, channels) hidden, and keys and values per layer
        """
        pairs: list[Pair] = []
        for number, block in enumerate(self.blocks):
            x, pair = block(x, mask, None if past is None else past[number])
            pairs.append(pair)
        return x, pairs

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next token, (..., channels) to (..., vocabulary)."""
        scores: Tensor = self.ar_predict_layer(hidden)
        return scores


def prefix_mask(num_phones: int, num_tokens: int) -> Tensor:
    """Who sees whom, (positions, positions) bool: text all text, tokens text and the past."""
    num_positions = num_phones + num_tokens
    seen = torch.ones(num_positions, num_positions, dtype=torch.bool).tril()
    seen[:num_phones, :num_phones] = True
    return seen
