"""A reference recording to one vector: the global embedding `ge` that says who speaks.

The mel-style encoder of Meta-StyleSpeech (Min et al. 2021) over a linear spectrogram; v2Pro adds
a speaker-verification vector. Runs once per voice, always in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.gpt_sovits.prior import split_heads
from kouji.models.layers.time_conv import TimeConv

NUM_HEADS = 2
TEMPORAL_TAPS = 5


class StyleEncoder(nn.Module):
    """Spectrogram to embedding; names of the parameters are those of checkpoints."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        width = config.style_hidden
        self.num_bins = config.style_bins
        entries = {"0": _Wrapped(config.style_bins, width), "3": _Wrapped(width, width)}
        self.spectral = nn.ModuleDict(entries)
        self.temporal = nn.ModuleList(_GatedConv(width) for _ in range(2))
        self.slf_attn = _SelfAttention(width)
        self.fc = _Wrapped(width, config.style_channels)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """(batch, bins, frames) linear magnitudes -> (batch, channels); no padding within."""
        x = spectrogram[:, : self.num_bins].transpose(1, 2)
        for layer in self.spectral.values():
            x = F.mish(layer(x))
        for block in self.temporal:
            x = block(x)
        pooled: Tensor = self.fc(self.slf_attn(x)).mean(dim=1)
        return pooled


class SpeakerJoin(nn.Module):
    """How v2Pro lets the speaker vector into the embedding, and narrows it for the text side."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        width = config.style_channels
        self.sv_emb = TimeConv(config.speaker_channels, width)
        self.ge_to512 = TimeConv(width, config.mrte_channels)
        self.slope = nn.Parameter(torch.empty(width))

    def forward(self, style: Tensor, speaker: Tensor) -> Tensor:
        """(batch, channels) and (batch, speaker channels) -> (batch, channels)."""
        return F.prelu(style + self.sv_emb(speaker[:, None])[:, 0], self.slope)

    def for_text(self, style: Tensor) -> Tensor:
        """(batch, channels) -> (batch, channels of the text side)."""
        return self.ge_to512(style[:, None])[:, 0]


class _Wrapped(nn.Module):
    """A linear layer under the name `fc`."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.fc = TimeConv(width_in, width_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class _GatedConv(nn.Module):
    """Residual convolution with a gate; its parameters lie at `conv1.conv`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.ModuleDict({"conv": TimeConv(width, 2 * width, TEMPORAL_TAPS)})

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x + F.glu(self.conv1["conv"](x), dim=-1)
        return gated


class _SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.w_qs, self.w_ks, self.w_vs, self.fc = (TimeConv(width, width) for _ in range(4))
        self.scale = width**-0.5  # of the whole width, not of a head: so it was trained

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            split_heads(part(x), NUM_HEADS) for part in (self.w_qs, self.w_ks, self.w_vs)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        joined: Tensor = x + self.fc(mixed.transpose(1, 2).flatten(2))
        return joined
