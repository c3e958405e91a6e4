"""Mel to fundamental frequency, one value for each frame (upstream: `f0_predictor`).

Version 3 computes in float64: the source's phase grows to a million radians, and what float32
leaves out of the frequency turns the sine by as much as it likes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.models.cosyvoice.config import MELS, HiftConfig
from kouji.models.cosyvoice.vocoder.hift_edges import Edges

LOOKAHEAD_FRAMES = 3  # of version 3
_TAPS, _NUM_LAYERS = 3, 5


class F0Predictor(nn.Module):
    """Five convolutions and a linear layer; its precision is that of its weights."""

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.is_causal = config.version == "cosyvoice3"
        width = config.f0_channels
        first = LOOKAHEAD_FRAMES + 1 if self.is_causal else _TAPS
        self.layers = nn.ModuleList(
            Taps(width if index else MELS, width, _TAPS if index else first)
            for index in range(_NUM_LAYERS)
        )
        self.classifier = nn.Linear(width, 1)

    def forward(self, mel: Tensor, edges: Edges) -> Tensor:
        """Frequencies of the frames.

        mel:     (rows, frames, 80); version 3: with `LOOKAHEAD_FRAMES` more behind them
        returns: (rows, frames) float32, Hz
        """
        x = mel.to(self.classifier.weight.dtype)
        for index, layer in enumerate(self.layers):
            if self.is_causal:
                reach = _TAPS - 1 if index else 0  # the first looks ahead, into the mel
                room, inside = edges.open(x, reach)
                inside.copy_(x)
                x = edges.close(room, 1)
            else:
                room, inside = edges.open(x, 0)
                inside.copy_(x)
                x = F.pad(edges.close(room, 1), (0, 0, _TAPS // 2, _TAPS // 2))
            x = F.elu(layer(x))
        f0: Tensor = self.classifier(x)[..., 0].abs().float()
        return f0


class Taps(nn.Module):
    """A convolution without padding as one matrix product: torch's own is slow in float64.

    weight: (out, taps * in)
    """

    def __init__(self, width_in: int, width_out: int, taps: int) -> None:
        super().__init__()
        self.taps = taps
        self.weight = nn.Parameter(torch.empty(width_out, taps * width_in))
        self.bias = nn.Parameter(torch.empty(width_out))

    @property
    def official_shape(self) -> tuple[int, ...]:
        """(out, in, taps)."""
        return (self.weight.shape[0], self.weight.shape[1] // self.taps, self.taps)

    def from_official(self, weight: Tensor) -> Tensor:
        """A checkpoint's weight of `official_shape` as `weight`."""
        return weight.transpose(1, 2).reshape(self.weight.shape)

    def forward(self, x: Tensor) -> Tensor:
        """(rows, frames + taps - 1, in) -> (rows, frames, out)."""
        num_frames = x.shape[1] - self.taps + 1
        shifted = [x[:, tap : tap + num_frames] for tap in range(self.taps)]
        return F.linear(torch.cat(shifted, dim=2), self.weight, self.bias)
