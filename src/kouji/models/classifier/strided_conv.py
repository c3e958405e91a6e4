"""A convolution with stride 2 that can be trained in half precision on short windows.

In bfloat16 torch's CPU library (oneDNN, torch 2.13) leaves parts of the gradient of a 3 x 3 kernel
with stride 2 unwritten where the map is one frame wide: what lay in memory there counts as
gradient, NaN at worst. Knows that one trap; in all else a plain convolution.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class StridedConv(nn.Conv2d):
    """(batch, channels, mels, frames) to half as many mels and frames, rounded up."""

    def __init__(self, entering: int, channels: int, *, bias: bool = True) -> None:
        super().__init__(entering, channels, 3, stride=2, padding=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """A second frame of zeros beside a single one is what the padding is anyhow."""
        if self.training and x.shape[3] == 1:
            x = F.pad(x, (0, 1))
        return super().forward(x)
