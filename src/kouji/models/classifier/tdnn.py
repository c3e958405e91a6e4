"""A time-delay network for words: what was said matters, not by whom or through what.

Frames of all bands at once go through dilated blocks in time (Waibel et al., "Phoneme Recognition
Using Time-Delay Neural Networks", 1989; the blocks are `mini`'s) and are gathered by attention
(after Okabe et al., "Attentive Statistics Pooling", 2018, means only). Almost nothing but matrix
products, so it trains several times as fast on a CPU as a picture network of its size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kouji.models.classifier.config import ClassifierConfig
from kouji.models.layers.shift_block import ShiftBlock

WIDTH = 256
DILATIONS = (1, 1, 2, 2, 4, 4, 8, 8)
STACKED = 2  # frames that enter together
_HIDDEN_SHARE = 1.25  # of the width, inside a block
_HEADS = 8  # of the attention, each for its own channels
# In the unit of `LogMel`, 20 dB, the loudest point being 2.
FLOOR = -0.75  # 55 dB below it: what recordings hide there differs, and says nothing of words
_MIDDLE = 0.5  # about the mean of speech


class Tdnn(nn.Module):
    """(batch, 1, mels, frames) to (batch, classes); width 256: 2.7 M parameters.

    Each pair of frames sees 30 pairs to both sides.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        width = config.width or WIDTH
        self.enter = nn.Linear(STACKED * config.num_mels, width)
        self.blocks = nn.ModuleList(
            ShiftBlock(width, round(_HIDDEN_SHARE * width), dilation=dilation)
            for dilation in DILATIONS
        )
        self.norm = nn.LayerNorm(width)
        self.heads = next(heads for heads in range(_HEADS, 0, -1) if width % heads == 0)
        self.attend = nn.Linear(width, self.heads, bias=False)
        nn.init.zeros_(self.attend.weight)  # begins as a plain mean
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, len(config.labels))

    def forward(self, mel: Tensor) -> Tensor:
        """mel: (batch, 1, mels, frames); returns (batch, classes) logits."""
        x = self.hidden(mel)
        shares = self.attend(x).softmax(dim=1)  # (batch, steps, heads)
        parts = x.reshape(*x.shape[:2], self.heads, -1)
        gathered = (shares[..., None] * parts).sum(dim=1).flatten(1)
        return self.head(self.dropout(gathered))  # type: ignore[no-any-return]

    def score_steps(self, mel: Tensor) -> Tensor:
        """(batch, steps, classes) logits of each pair of frames by itself, for `train.phones`."""
        return self.head(self.dropout(self.hidden(mel)))  # type: ignore[no-any-return]

    def hidden(self, mel: Tensor) -> Tensor:
        """(batch, steps, width): what is heard at each pair of frames."""
        x = mel[:, 0].transpose(1, 2).clamp(min=FLOOR) - _MIDDLE
        x = nn.functional.pad(x, (0, 0, 0, x.shape[1] % STACKED), value=FLOOR - _MIDDLE)
        x = self.enter(x.reshape(x.shape[0], -1, STACKED * x.shape[2]))
        mask = torch.ones_like(x[..., :1])
        for block in self.blocks:
            x = block(self.dropout(x), mask)
        return self.norm(x)  # type: ignore[no-any-return]
