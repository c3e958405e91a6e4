"""The baseline: two convolutions with pooling, two linear layers, as introductory articles have it.

Made for 64 x 64 mels x frames; anything else is averaged to the grid it has there.
"""

from __future__ import annotations

from torch import Tensor, nn

from kouji.models.classifier.config import ClassifierConfig

WIDTH = 32  # channels of the first convolution; the second has twice as many
GRID = 16  # 64 mels and 64 frames, halved twice
HIDDEN = 128


class TwoConv(nn.Module):
    """(batch, 1, mels, frames) to (batch, classes)."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        width = config.width or WIDTH
        self.body = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.hidden = nn.Linear(2 * width * GRID * GRID, HIDDEN)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(HIDDEN, len(config.labels))

    def forward(self, mel: Tensor) -> Tensor:
        """mel: (batch, 1, mels, frames), 4 or more of each; returns (batch, classes) logits."""
        x = self.pool(self.body(mel)).flatten(1)
        return self.head(self.dropout(self.hidden(x).relu()))  # type: ignore[no-any-return]
