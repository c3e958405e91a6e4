"""The layer that lets a token see the three that follow it, in both versions of the flow."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

AHEAD_TAPS, BEHIND_TAPS = 4, 3
TOKENS_BEHIND = BEHIND_TAPS - 1  # that a token hears of, besides those ahead of it


class PreLookahead(nn.Module):
    """Two convolutions over tokens, the first ahead and the second behind, and a shortcut."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, channels, AHEAD_TAPS)
        self.conv2 = nn.Conv1d(channels, width, BEHIND_TAPS)

    def __call__(self, x: Tensor, ahead: Tensor, behind: Tensor | None = None) -> Tensor:
        """`forward`, with its type."""
        y: Tensor = super().__call__(x, ahead, behind)
        return y

    def forward(self, x: Tensor, ahead: Tensor, behind: Tensor | None = None) -> Tensor:
        """Look both ways.

        x:       (batch, tokens, width)
        ahead:   (batch, 0 to 3 tokens, width) that follow; beyond the last there are zeros
        behind:  (batch, up to 2 tokens, width) before `x`; fewer than 2: the sequence begins there
        returns: as `x`
        """
        known = [x, ahead] if behind is None else [behind, x, ahead]
        num_behind = 0 if behind is None else behind.shape[1]
        seen = F.pad(torch.cat(known, 1).mT, (0, AHEAD_TAPS - 1 - ahead.shape[1]))
        hidden = F.leaky_relu(self.conv1(seen))
        # The zeros before the first token are of the hidden layer, not of the tokens.
        made: Tensor = self.conv2(F.pad(hidden, (TOKENS_BEHIND - num_behind, 0))).mT
        return made + x
