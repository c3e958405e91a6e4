"""Tokens, phones and voice to the distribution of the latent (upstream: `enc_p`), at 50 Hz.

Tokens and phones pass an encoder each, meet in a cross-attention that also hears the voice, and
pass a third encoder. Padding is masked before every convolution and in every attention, so that a
row of a batch equals the row alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.layers.time_conv import TimeConv

BLOCKED = -1e4  # a masked score; its share underflows to zero
MRTE_HEADS = 4
QUERY_FRAMES = 512  # attended at once: scores grow with the length, not with its square
NORM_EPSILON = 1e-5


class Prior(nn.Module):
    """Names of the parameters are those of checkpoints."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        width = config.hidden
        self.ssl_proj = TimeConv(config.ssl_channels, width)
        self.encoder_ssl = Encoder(config, config.token_layers)
        self.encoder_text = Encoder(config, config.text_layers)
        self.text_embedding = Table(config.num_phones, width)
        self.mrte = TextMeetsTokens(config)
        self.encoder2 = Encoder(config, config.joint_layers)
        self.proj = TimeConv(width, 2 * config.latent)

    def forward(
        self,
        features: Tensor,
        phones: Tensor,
        style: Tensor,
        mask: Tensor | None = None,
        phone_mask: Tensor | None = None,
    ) -> Tensor:
        """What `project` turns into a distribution.

        features:   (batch, frames, channels) tokens looked up, at 50 Hz
        phones:     (batch, phones) int64
        style:      (batch, channels) of the text side
        mask:       (batch, frames, 1), one for valid frames; None: all are
        phone_mask: (batch, phones, 1)
        returns:    (batch, frames, hidden)
        """
        x = self.encoder_ssl(self.ssl_proj(features), mask)
        text = self.encoder_text(F.embedding(phones, self.text_embedding.weight), phone_mask)
        met: Tensor = self.encoder2(self.mrte(x, text, style, mask, phone_mask), mask)
        return met

    def project(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log deviation, each (batch, frames, latent), float32."""
        mean, log_deviation = self.proj(x).float().chunk(2, dim=-1)
        return mean, log_deviation


class Encoder(nn.Module):
    """Post-norm transformer blocks with convolutions for a feed-forward part."""

    def __init__(self, config: SoVITSConfig, num_layers: int) -> None:
        super().__init__()
        layers = range(num_layers)
        self.attn_layers = nn.ModuleList(WindowedAttention(config) for _ in layers)
        self.norm_layers_1 = nn.ModuleList(ChannelNorm(config.hidden) for _ in layers)
        self.ffn_layers = nn.ModuleList(FeedForward(config) for _ in layers)
        self.norm_layers_2 = nn.ModuleList(ChannelNorm(config.hidden) for _ in layers)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, hidden) and its mask -> the same, zero where masked."""
        x = masked(x, mask)
        layers = (self.attn_layers, self.norm_layers_1, self.ffn_layers, self.norm_layers_2)
        for attend, norm_1, feed, norm_2 in zip(*layers, strict=True):
            x = norm_1(x + attend(x, mask))
            x = norm_2(x + feed(x, mask))
        return masked(x, mask)


class WindowedAttention(nn.Module):
    """Self-attention with learned vectors for neighbours within `window` (Shaw et al. 2018)."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        width, self.num_heads, self.window = config.hidden, config.num_heads, config.window
        near = (1, 2 * self.window + 1, width // self.num_heads)
        self.emb_rel_k, self.emb_rel_v = (nn.Parameter(torch.empty(near)) for _ in range(2))
        parts = (TimeConv(width, width) for _ in range(4))
        self.conv_q, self.conv_k, self.conv_v, self.conv_o = parts

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, hidden) -> the same."""
        query, key, value = (
            split_heads(part(x), self.num_heads) for part in (self.conv_q, self.conv_k, self.conv_v)
        )
        query = query * query.shape[-1] ** -0.5
        blocks = query.split(QUERY_FRAMES, dim=2)
        mixed = [
            self._attend(block, index * QUERY_FRAMES, key, value, mask)
            for index, block in enumerate(blocks)
        ]
        attended: Tensor = self.conv_o(torch.cat(mixed, dim=2).transpose(1, 2).flatten(2))
        return attended

    def _attend(
        self, query: Tensor, first: int, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> Tensor:
        """What the queries from frame `first` on see, (batch, heads, queries, channels)."""
        num_frames, reach = key.shape[2], self.window
        nearness = query @ self.emb_rel_k[0].T  # (batch, heads, queries, neighbours)
        near = _neighbours(first, query.shape[2], reach, query.device).expand_as(nearness)
        padded = query.new_zeros(*query.shape[:3], num_frames + 2 * reach)
        padded = padded.scatter_(-1, near, nearness)[..., reach : reach + num_frames]
        share = _shares(padded + query @ key.transpose(2, 3), mask, query.dtype)
        band = F.pad(share, (reach, reach)).gather(-1, near)
        return share @ value + band @ self.emb_rel_v[0]


class FeedForward(nn.Module):
    """Two convolutions over time with a rectifier between them."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        self.conv_1 = TimeConv(config.hidden, config.feed_forward, config.kernel)
        self.conv_2 = TimeConv(config.feed_forward, config.hidden, config.kernel)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, hidden) -> the same."""
        inner = F.relu(self.conv_1(masked(x, mask)))
        fed: Tensor = self.conv_2(masked(inner, mask))
        return masked(fed, mask)


class TextMeetsTokens(nn.Module):
    """Tokens ask the phones and hear the voice (upstream: MRTE)."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        width = config.mrte_channels
        self.c_pre = TimeConv(config.hidden, width)
        self.text_pre = TimeConv(config.hidden, width)
        names = ("conv_q", "conv_k", "conv_v", "conv_o")
        self.cross_attention = nn.ModuleDict({name: TimeConv(width, width) for name in names})
        self.c_post = TimeConv(width, config.hidden)

    def forward(
        self,
        tokens: Tensor,
        text: Tensor,
        style: Tensor,
        mask: Tensor | None,
        phone_mask: Tensor | None,
    ) -> Tensor:
        """(batch, frames, hidden), (batch, phones, hidden), (batch, channels) -> as tokens."""
        part = self.cross_attention
        asked = self.c_pre(masked(tokens, mask))
        told = self.text_pre(masked(text, phone_mask))
        query, key, value = (
            split_heads(part[name](source), MRTE_HEADS)
            for name, source in (("conv_q", asked), ("conv_k", told), ("conv_v", told))
        )
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(2, 3)
        mixed = _shares(scores, phone_mask, scores.dtype) @ value
        joined = part["conv_o"](mixed.transpose(1, 2).flatten(2)) + asked + style[:, None]
        met: Tensor = self.c_post(masked(joined, mask))
        return met


class ChannelNorm(nn.Module):
    """LayerNorm over channels, under the names of checkpoints."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(torch.empty(width)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, channels) -> the same."""
        return F.layer_norm(x, self.gamma.shape, self.gamma, self.beta, NORM_EPSILON)


class Table(nn.Module):
    """An embedding table without initial values."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Zero what is padding."""
    return x if mask is None else x * mask.to(x.dtype)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(batch, frames, heads * channels) -> (batch, heads, frames, channels)."""
    return x.reshape(*x.shape[:2], num_heads, -1).transpose(1, 2)


def _neighbours(first: int, num_queries: int, reach: int, device: torch.device) -> Tensor:
    """Columns, in a row padded by `reach`, of each query's neighbours: (queries, 2 reach + 1)."""
    frames = torch.arange(first, first + num_queries, device=device)[:, None]
    return frames + torch.arange(2 * reach + 1, device=device)


def _shares(scores: Tensor, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Softmax in float32 over the keys that `mask` (batch, keys, 1) leaves."""
    if mask is not None:
        scores = scores.masked_fill(mask.transpose(1, 2)[:, None] == 0, BLOCKED)
    return torch.softmax(scores.float(), dim=-1).to(dtype)
