"""Speaker encoder of `mini`: seconds of mel to one vector that says who speaks.

A short stack of shift blocks, then attentive statistics pooling (Okabe et al. 2018).
It hears bands below 7 kHz only: a voice is the same from a 16 kHz and a 48 kHz file.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kouji.models.layers.shift_block import ShiftStack
from kouji.models.mini.config import ENERGY_BANDS, MiniConfig


class SpeakerEncoder(nn.Module):
    """Reference mel to speaker embedding."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        width = config.speaker_width
        self.enter = nn.Linear(ENERGY_BANDS, width)
        self.stack = ShiftStack(width, config.speaker_hidden, config.speaker_dilations)
        self.attend = nn.Sequential(nn.Linear(width, 64), nn.Tanh(), nn.Linear(64, width))
        self.leave = nn.Linear(2 * width, config.speaker_channels)
        self.norm = nn.LayerNorm(config.speaker_channels)

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """Embed reference recordings.

        mel:     (batch, frames, mels) normalised log-mel, zero-padded
        mask:    (batch, frames, 1) one for valid frames
        returns: (batch, channels), zero mean and unit variance over channels
        """
        x = self.stack(self.enter(mel[..., :ENERGY_BANDS]), mask)
        scores = self.attend(x).float().masked_fill(mask == 0, -1e4)
        weights = torch.softmax(scores, dim=1)  # over frames, a channel at a time
        x32 = x.float()
        mean = (weights * x32).sum(dim=1)
        spread = ((weights * x32.square()).sum(dim=1) - mean.square()).clamp(min=1e-5).sqrt()
        pooled = torch.cat([mean, spread], dim=-1).to(x.dtype)
        embedding: Tensor = self.norm(self.leave(pooled))
        return embedding
