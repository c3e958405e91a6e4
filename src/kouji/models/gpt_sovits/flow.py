"""The invertible part between prior and generator, run backwards: four mean-only couplings.

Residual coupling layers of VITS (Kim et al. 2021) around gated convolutions (WaveNet), at 50 Hz.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.gpt_sovits.prior import masked
from kouji.models.layers.time_conv import TimeConv


class Flow(nn.Module):
    """Couplings at even indices of `flows`; what lies between flips the channels."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        self.flows = nn.ModuleDict(
            {str(2 * index): Coupling(config) for index in range(config.num_flows)}
        )

    def reverse(self, x: Tensor, style: Tensor, mask: Tensor | None = None) -> Tensor:
        """Prior sample to what the generator hears.

        x:       (batch, frames, latent)
        style:   (batch, channels)
        mask:    (batch, frames, 1); None: all frames are valid
        returns: (batch, frames, latent), zero where masked
        """
        x = masked(x, mask)
        for coupling in reversed(list(self.flows.values())):
            x = coupling(x.flip(-1), style, mask)
        return x


class Coupling(nn.Module):
    """Shifts one half of the channels by what the other half and the voice say."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        half, width = config.latent // 2, config.hidden
        self.pre = TimeConv(half, width)
        self.enc = GatedStack(
            width, config.flow_kernel, config.flow_layers, style_channels=config.style_channels
        )
        self.post = TimeConv(width, half)

    def forward(self, x: Tensor, style: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, latent) -> the same."""
        kept, moved = x.chunk(2, dim=-1)
        shift = self.post(self.enc(masked(self.pre(kept), mask), style, mask))
        return torch.cat([kept, masked(moved - shift, mask)], dim=-1)


class GatedStack(nn.Module):
    """WaveNet layers without dilation, told the voice in each."""

    def __init__(self, width: int, taps: int, num_layers: int, *, style_channels: int) -> None:
        super().__init__()
        last = num_layers - 1
        self.in_layers = nn.ModuleList(TimeConv(width, 2 * width, taps) for _ in range(num_layers))
        self.res_skip_layers = nn.ModuleList(
            TimeConv(width, width if layer == last else 2 * width) for layer in range(num_layers)
        )
        self.cond_layer = TimeConv(style_channels, 2 * width * num_layers)

    def forward(self, x: Tensor, style: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, frames, width) -> the same: the sum of all skips."""
        told = self.cond_layer(style[:, None]).chunk(len(self.in_layers), dim=-1)
        total = torch.zeros_like(x)
        layers = zip(self.in_layers, self.res_skip_layers, told, strict=True)
        for widen, leave, voice in layers:
            tanh, gate = (widen(x) + voice).chunk(2, dim=-1)
            out = leave(torch.tanh(tanh) * torch.sigmoid(gate))
            if out.shape[-1] == x.shape[-1]:  # the last layer only skips
                total = total + out
            else:
                onward, skip = out.chunk(2, dim=-1)
                x = masked(x + onward, mask)
                total = total + skip
        return masked(total, mask)
