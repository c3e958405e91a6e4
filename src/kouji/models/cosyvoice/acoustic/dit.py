"""The estimator of version 3's flow, a diffusion transformer, as the official code computes it.

Readable, float32, no caches: what the fast flow is measured against. Architecture: Peebles and Xie
2023 in the form of F5-TTS (arXiv:2410.06885). Modules bear the names of `decoder.estimator.*`.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kouji.models.cosyvoice.config import MELS, DiTConfig

TIME_WIDTH, TIME_SCALE, MAX_PERIOD = 256, 1000, 10_000
POSITION_TAPS, POSITION_GROUPS = 31, 16
NORM_EPSILON = 1e-6
ROPE_BASE = 10_000.0
NUM_MODULATIONS = 6  # shift, scale, gate of attention, then of the feed-forward


def rotations(num_frames: int, head_width: int, begin: int = 0) -> Tensor:
    """Unit complex numbers by position and pair of channels, (frames, head_width / 2)."""
    rates = ROPE_BASE ** (-torch.arange(0, head_width, 2).float() / head_width)
    angles = torch.arange(begin, begin + num_frames)[:, None] * rates
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn neighbouring channels: x (..., frames, head_width) float32, turns of `rotations`."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)


def chunk_mask(num_frames: int, chunk_frames: int) -> Tensor:
    """Which frame hears which, (frames, frames) bool: all before, and its own chunk."""
    chunks = torch.arange(num_frames) // chunk_frames
    return chunks[:, None] >= chunks


class TimeEmbedding(nn.Module):
    """A point of time between noise and mel, as a vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time_mlp = nn.Sequential(
            nn.Linear(TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, times: Tensor) -> Tensor:
        """(batch,) in [0, 1] -> (batch, width)."""
        half = TIME_WIDTH // 2
        rates = torch.exp(torch.arange(half) * (-math.log(MAX_PERIOD) / (half - 1)))
        angles = TIME_SCALE * times[:, None] * rates.to(times.device)
        made: Tensor = self.time_mlp(torch.cat((angles.sin(), angles.cos()), -1))
        return made


class PositionConvs(nn.Module):
    """Two grouped convolutions over the frames before: the only sense of place most heads have."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("conv1", "conv2"):
            conv = nn.Conv1d(width, width, POSITION_TAPS, groups=POSITION_GROUPS)
            setattr(self, name, nn.Sequential(conv))

    @property
    def in_order(self) -> list[nn.Conv1d]:
        """Both."""
        return [module for module in self.modules() if isinstance(module, nn.Conv1d)]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, width), padded on the left."""
        x = x.mT
        for conv in self.in_order:
            x = F.mish(conv(F.pad(x, (POSITION_TAPS - 1, 0))))
        return x.mT


class InputEmbedding(nn.Module):
    """What is solved, what is known, and the place of each frame."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(4 * MELS, width)  # x, condition, mu, speaker
        self.conv_pos_embed = PositionConvs(width)

    def forward(self, x: Tensor, condition: Tensor, mu: Tensor, speaker: Tensor) -> Tensor:
        """(batch, frames, 80) each, speaker (batch, 80) -> (batch, frames, width)."""
        everywhere = speaker[:, None].expand_as(x)
        h = self.proj(torch.cat((x, condition, mu, everywhere), -1))
        made: Tensor = h + self.conv_pos_embed(h)
        return made


class Modulation(nn.Module):
    """Shifts, scales and gates of a point of time."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count, self.linear = count, nn.Linear(width, count * width)

    def forward(self, time: Tensor) -> tuple[Tensor, ...]:
        """(batch, width) -> `count` of (batch, 1, width)."""
        made: tuple[Tensor, ...] = self.linear(F.silu(time))[:, None].chunk(self.count, -1)
        return made


class Attention(nn.Module):
    """Self-attention whose first head alone knows positions.

    The official code rotates before it splits into heads, and only one head's width of channels.
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.num_heads, inner = config.num_heads, config.num_heads * config.head_width
        self.to_q = nn.Linear(config.dim, inner)
        self.to_k = nn.Linear(config.dim, inner)
        self.to_v = nn.Linear(config.dim, inner)
        self.to_out = nn.ModuleList([nn.Linear(inner, config.dim)])

    @property
    def out(self) -> nn.Linear:
        """What joins the heads."""
        return self.to_out[0]  # type: ignore[return-value]

    def forward(self, x: Tensor, turns: Tensor, hears: Tensor) -> Tensor:
        """(batch, frames, dim); hears: bool, broadcast to (batch, heads, frames, frames)."""
        q, k, v = (
            project(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        q, k = (torch.cat((rotate(y[:, :1], turns), y[:, 1:]), 1) for y in (q, k))
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=hears)
        made: Tensor = self.out(heard.transpose(1, 2).flatten(2))
        return made


class FeedForward(nn.Module):
    """Widen, GELU in its tanh form, narrow."""

    def __init__(self, width: int, mult: int) -> None:
        super().__init__()
        widen = nn.Sequential(nn.Linear(width, mult * width), nn.GELU(approximate="tanh"))
        self.ff = nn.Sequential(widen, nn.Identity(), nn.Linear(mult * width, width))

    @property
    def linears(self) -> tuple[nn.Linear, nn.Linear]:
        """The one that widens and the one that narrows."""
        return self.ff[0][0], self.ff[2]  # type: ignore[index, return-value]

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, width)."""
        made: Tensor = self.ff(x)
        return made


class Block(nn.Module):
    """Attention and feed-forward, each modulated before and gated behind."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.attn_norm = Modulation(config.dim, NUM_MODULATIONS)
        self.attn = Attention(config)
        self.ff = FeedForward(config.dim, config.ff_mult)

    def forward(
        self, h: Tensor, time: Tensor, turns: Tensor, mask: Tensor, hears: Tensor
    ) -> Tensor:
        """(batch, frames, dim); mask: (batch, frames, 1), 0 where there is nothing."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.attn_norm(time)
        heard = self.attn(_norm(h) * (1 + scale_a) + shift_a, turns, hears)
        h = h + gate_a * heard * mask
        made: Tensor = h + gate_m * self.ff(_norm(h) * (1 + scale_m) + shift_m)
        return made


class OutputNorm(Modulation):
    """The last norm; scale comes before shift here."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 2)

    def apply_to(self, h: Tensor, time: Tensor) -> Tensor:
        """(batch, frames, width)."""
        scale, shift = self(time)
        made: Tensor = _norm(h) * (1 + scale) + shift
        return made


class RotaryBuffer(nn.Module):
    """A buffer that checkpoints carry; `rotations` makes the same numbers."""

    inv_freq: Tensor

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.register_buffer("inv_freq", torch.zeros(head_width // 2))


class DiT(nn.Module):
    """Velocity of frames on their way from noise to mel."""

    def __init__(self, config: DiTConfig, chunk_frames: int) -> None:
        """chunk_frames: of the streaming mask."""
        super().__init__()
        self.config, self.chunk_frames = config, chunk_frames
        self.time_embed = TimeEmbedding(config.dim)
        self.input_embed = InputEmbedding(config.dim)
        self.rotary_embed = RotaryBuffer(config.head_width)
        self.transformer_blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm_out = OutputNorm(config.dim)
        self.proj_out = nn.Linear(config.dim, MELS)

    def forward(
        self,
        x: Tensor,
        mu: Tensor,
        condition: Tensor,
        speaker: Tensor,
        times: Tensor,
        *,
        mask: Tensor | None = None,
        is_chunked: bool,
    ) -> Tensor:
        """One evaluation.

        x, mu, condition: (batch, frames, 80)
        speaker:    (batch, 80)
        times:      (batch,) in [0, 1]
        mask:       (batch, frames) bool, False where there is nothing; None: all is there
        is_chunked: frames hear what is before and in their chunk; else everything
        returns:    (batch, frames, 80)
        """
        num_frames = x.shape[1]
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        hears = mask[:, None, None]  # (batch, 1, 1, frames)
        if is_chunked:
            hears = hears & chunk_mask(num_frames, self.chunk_frames).to(x.device)
        turns = rotations(num_frames, self.config.head_width).to(x.device)
        time, is_there = self.time_embed(times), mask[..., None].to(x.dtype)
        h = self.input_embed(x, condition, mu, speaker)
        for block in self.transformer_blocks:
            h = block(h, time, turns, is_there, hears)
        made: Tensor = self.proj_out(self.norm_out.apply_to(h, time))
        return made


def _norm(h: Tensor) -> Tensor:
    return F.layer_norm(h, h.shape[-1:], eps=NORM_EPSILON)
