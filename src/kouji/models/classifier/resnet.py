"""ResNet-18 for one channel (He et al., "Deep Residual Learning for Image Recognition", 2016).

Its BatchNorm takes the statistics of a batch over all processes that share it. A window's
probabilities come from running statistics, so they do not depend on who else is in a batch.
"""

from __future__ import annotations

from torch import Tensor, nn

from kouji.models.classifier.batch_norm import BatchNorm
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.strided_conv import StridedConv

WIDTH = 64
BLOCKS = (2, 2, 2, 2)  # with stem and last layer: 18 layers with weights


class ResNet18(nn.Module):
    """(batch, 1, mels, frames) to (batch, classes); four stages of two basic blocks.

    Channels are 64, 128, 256, 512 (width, doubled from stage to stage).
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        width = config.width or WIDTH
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False),
            BatchNorm(width),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        blocks: list[nn.Module] = []
        entering = width
        for stage, num_blocks in enumerate(BLOCKS):
            channels = width << stage
            for number in range(num_blocks):
                stride = 2 if stage > 0 and number == 0 else 1
                blocks.append(BasicBlock(entering, channels, stride))
                entering = channels
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(entering, len(config.labels))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, mel: Tensor) -> Tensor:
        """mel: (batch, 1, mels, frames); returns (batch, classes) logits."""
        x = self.blocks(self.stem(mel)).mean(dim=(2, 3))
        return self.head(self.dropout(x))  # type: ignore[no-any-return]


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 one where the shape changes."""

    def __init__(self, entering: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1: nn.Conv2d = StridedConv(entering, channels, bias=False)
        if stride == 1:
            self.conv1 = nn.Conv2d(entering, channels, 3, padding=1, bias=False)
        self.norm1 = BatchNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = BatchNorm(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or entering != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(entering, channels, 1, stride=stride, bias=False), BatchNorm(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, entering, mels, frames); returns (batch, channels, mels / stride, …)."""
        inner = self.norm1(self.conv1(x)).relu()
        inner = self.norm2(self.conv2(inner))
        return (inner + self.shortcut(x)).relu()  # type: ignore[no-any-return]
