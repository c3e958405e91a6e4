"""Version 2's estimator: one level of a U-Net over time, plain and by official keys.

Convolutions look back only, norms work within a frame, and under the chunk mask attention sees
no chunk to come, so what was computed left of a chunk's end never changes. It is the reference
that the packed estimator is measured against. Knows no caches.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kouji.models.cosyvoice.config import MELS, UNetConfig

TAPS = 3  # of every convolution: two frames back
INPUTS = 4 * MELS  # noisy mel, encoded tokens, speaker, prompt
TIME_MULT = 4  # channels of the time embedding to those of the network
FF_MULT = 4
TIME_SCALE = 1000.0


def time_sinusoid(times: Tensor) -> Tensor:
    """Flow times in [0, 1] as sinusoids: (batch,) -> (batch, INPUTS), sines before cosines."""
    half = INPUTS // 2
    steps = torch.arange(half, dtype=torch.float32, device=times.device)
    frequencies = torch.exp(steps * -(math.log(10_000.0) / (half - 1)))
    angles = TIME_SCALE * times.float().unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class CausalConv(nn.Conv1d):
    """A convolution that sees two frames back, none ahead."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, TAPS)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, frames) -> the same frames."""
        return super().forward(F.pad(x, (TAPS - 1, 0)))


class FrameNorm(nn.LayerNorm):
    """LayerNorm over the channels of each frame of (batch, channels, frames)."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(x.mT).mT


class ConvUnit(nn.Module):
    """Convolution, norm, Mish; padding goes in and comes out as zeros."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        # The official names count a transposition between convolution and norm.
        conv = CausalConv(width_in, width_out)
        self.block = nn.Sequential(conv, nn.Identity(), FrameNorm(width_out), nn.Mish())

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, channels, frames) and (batch, 1, frames)."""
        y: Tensor = self.block(x * mask) * mask
        return y


class ResnetBlock(nn.Module):
    """Two units with the time between them, beside a 1x1 convolution."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Mish(), nn.Linear(TIME_MULT * width_out, width_out))
        self.block1 = ConvUnit(width_in, width_out)
        self.block2 = ConvUnit(width_out, width_out)
        self.res_conv = nn.Conv1d(width_in, width_out, 1)

    def forward(self, x: Tensor, mask: Tensor, time: Tensor) -> Tensor:
        """As `ConvUnit.forward`, and the embedded time (batch, 4 * channels)."""
        first = self.block1(x, mask) + self.mlp(time).unsqueeze(-1)
        y: Tensor = self.block2(first, mask) + self.res_conv(x * mask)
        return y


class Attention(nn.Module):
    """Multi-head self-attention without positions."""

    def __init__(self, width: int, num_heads: int, head_width: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, num_heads * head_width, bias=False)
        self.to_k = nn.Linear(width, num_heads * head_width, bias=False)
        self.to_v = nn.Linear(width, num_heads * head_width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(num_heads * head_width, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, frames, channels); `mask` is True where a query sees a key."""
        q, k, v = (
            linear(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for linear in (self.to_q, self.to_k, self.to_v)
        )
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y: Tensor = self.to_out(seen.transpose(1, 2).flatten(2))
        return y


class Widen(nn.Module):
    """Linear and the exact GELU, under the name the checkpoint has."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        """Any leading axes."""
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = FF_MULT * width
        # Dropout stood between them; nothing took its number.
        self.net = nn.Sequential(Widen(width, inner), nn.Identity(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Any leading axes."""
        y: Tensor = self.net(x)
        return y


class TransformerBlock(nn.Module):
    """Attention and feed-forward, normalised before."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width = config.channels
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, config.num_heads, config.head_width)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """As `Attention.forward`."""
        x = x + self.attn1(self.norm1(x), mask)
        y: Tensor = x + self.ff(self.norm3(x))
        return y


class TimeEmbedding(nn.Module):
    """Linear, SiLU, Linear over the sinusoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(INPUTS, width)
        self.linear_2 = nn.Linear(width, width)

    def forward(self, times: Tensor) -> Tensor:
        """(batch,) -> (batch, width)."""
        y: Tensor = self.linear_2(F.silu(self.linear_1(time_sinusoid(times))))
        return y


class Level(nn.ModuleList):
    """A resnet block, its transformers and, at both ends of the U, a convolution."""

    def __init__(self, config: UNetConfig, width_in: int, *, has_conv: bool) -> None:
        width = config.channels
        transformers = (TransformerBlock(config) for _ in range(config.num_transformers))
        super().__init__([ResnetBlock(width_in, width), nn.ModuleList(transformers)])
        if has_conv:
            self.append(CausalConv(width, width))

    def forward(self, x: Tensor, mask: Tensor, time: Tensor, mates: Tensor) -> Tensor:
        """All but the last convolution; `mates` as in `Attention.forward`."""
        frames = self[0](x, mask, time).mT
        for block in self[1].children():
            frames = block(frames, mates)
        y: Tensor = frames.mT
        return y


class UNet(nn.Module):
    """The whole estimator."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width = config.channels
        self.time_mlp = TimeEmbedding(TIME_MULT * width)
        self.down_blocks = nn.ModuleList([Level(config, INPUTS, has_conv=True)])
        self.mid_blocks = nn.ModuleList(
            Level(config, width, has_conv=False) for _ in range(config.num_mid_blocks)
        )
        self.up_blocks = nn.ModuleList([Level(config, 2 * width, has_conv=True)])
        self.final_block = ConvUnit(width, width)
        self.final_proj = nn.Conv1d(width, MELS, 1)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        mu: Tensor,
        times: Tensor,
        speaker: Tensor,
        cond: Tensor,
        *,
        seen: Tensor | None = None,
    ) -> Tensor:
        """The velocity of every frame.

        x, mu, cond: (batch, 80, frames): noisy mel, encoded tokens, the prompt's mel
        mask:        (batch, 1, frames), one for frames that exist
        times:       (batch,) in [0, 1]
        speaker:     (batch, 80)
        seen:        (queries, keys) bool, the chunk mask; None: full attention
        returns:     (batch, 80, frames)
        """
        time = self.time_mlp(times)
        mates = (mask > 0).unsqueeze(1) if seen is None else (mask > 0).unsqueeze(1) & seen
        x = torch.cat([x, mu, speaker.unsqueeze(2).expand_as(x), cond], dim=1)
        skip = self.down_blocks[0](x, mask, time, mates)
        x = self.down_blocks[0].get_submodule("2")(skip * mask)
        for level in self.mid_blocks:
            x = level(x, mask, time, mates)
        x = self.up_blocks[0](torch.cat([x, skip], dim=1), mask, time, mates)
        x = self.up_blocks[0].get_submodule("2")(x * mask)
        y: Tensor = self.final_proj(self.final_block(x, mask) * mask) * mask
        return y
