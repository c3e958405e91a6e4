"""Semantic tokens: features of a recording to tokens, tokens back to features.

One codebook (upstream: a residual quantizer of one layer) over HuBERT features at half their rate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.models.gpt_sovits.config import SoVITSConfig

FRAMES_PER_TOKEN = 2  # of the latent: tokens run at 25 Hz, frames at 50 Hz


class Quantizer(nn.Module):
    """The codebook and the convolution before it.

    project_weight: (channels, channels, 2) of stride two
    embed:          (tokens, channels)
    """

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        width = config.ssl_channels
        self.project_weight = nn.Parameter(torch.empty(width, width, FRAMES_PER_TOKEN))
        self.project_bias = nn.Parameter(torch.empty(width))
        self.embed = nn.Parameter(torch.empty(config.codebook_size, width))

    def encode(self, features: Tensor) -> Tensor:
        """Nearest codebook row of every second frame; ties go to the lower token.

        features: (batch, channels, frames) float32 as HuBERT gives them, at 50 Hz
        returns:  (batch, frames // 2) int64
        """
        weight, bias = self.project_weight.float(), self.project_bias.float()
        x = F.conv1d(features.float(), weight, bias, stride=FRAMES_PER_TOKEN).transpose(1, 2)
        book = self.embed.float().T
        distance = x.square().sum(-1, keepdim=True) - 2 * x @ book + book.square().sum(0)
        return distance.argmin(-1)

    def decode(self, tokens: Tensor) -> Tensor:
        """(batch, tokens) int64 -> (batch, 2 * tokens, channels): each row of the book twice."""
        return F.embedding(tokens, self.embed).repeat_interleave(FRAMES_PER_TOKEN, dim=1)
