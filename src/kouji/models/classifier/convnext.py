"""A small ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022).

Departs in the stem: two 3 x 3 convolutions with stride 2 in place of 4 x 4 patches, which learn
more steadily from few clips (Xiao et al., "Early Convolutions Help Transformers See Better",
2021). Stochastic depth is left to the recipe's dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.strided_conv import StridedConv

WIDTH = 32
BLOCKS = (2, 2, 6, 2)
_EXPANSION = 4
_LAYER_SCALE = 0.1  # 1e-6 in the paper, for 100 times as many steps as a small set gets


class ConvNext(nn.Module):
    """(batch, 1, mels, frames) to (batch, classes); widths 32, 64, 128, 256: 2.4 M parameters."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        width = config.width or WIDTH
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1),
            ChannelNorm(width),
            nn.GELU(),
            StridedConv(width, width),
            ChannelNorm(width),
        )
        stages: list[nn.Module] = []
        for stage, num_blocks in enumerate(BLOCKS):
            channels = width << stage
            if stage > 0:
                stages.append(ChannelNorm(channels // 2))
                stages.append(StridedConv(channels // 2, channels))
            stages.extend(Block(channels) for _ in range(num_blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(channels, len(config.labels))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02 if module is self.head else 0.05)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, mel: Tensor) -> Tensor:
        """mel: (batch, 1, mels, frames); returns (batch, classes) logits."""
        x = self.stages(self.stem(mel)).mean(dim=(2, 3))
        return self.head(self.dropout(self.norm(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Depthwise 7 x 7, then a wide GELU layer at each point, scaled, beside the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.widen = nn.Linear(channels, _EXPANSION * channels)
        self.narrow = nn.Linear(_EXPANSION * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), _LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, mels, frames); returns the same shape."""
        inner = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        inner = self.scale * self.narrow(nn.functional.gelu(self.widen(inner)))
        return x + inner.permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of (batch, channels, mels, frames)."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as the input."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
