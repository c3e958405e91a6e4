"""The residual block `mini` is built of, in (batch, frames, channels) layout.

LayerNorm with optional conditioning -> 3-tap convolution written as three shifted
copies and one Linear -> SiLU -> Linear. On a CPU one large matrix product is about
twice as fast to train as a depthwise convolution of the same reach, and bf16
matrix units only see matrix products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


def gather_taps(x: Tensor, dilation: int) -> Tensor:
    """Put each frame beside its neighbours `dilation` away, zeros beyond the ends.

    x:       (batch, frames, channels)
    returns: (batch, frames, 3 * channels), order past, present, future
    """
    # Padded, without a question about the length: an exported graph then takes any.
    past = nn.functional.pad(x, (0, 0, dilation, 0))[:, : x.shape[1]]
    future = nn.functional.pad(x, (0, 0, 0, dilation))[:, dilation:]
    return torch.cat([past, x, future], dim=2)


@dataclass(frozen=True)
class Offsets:
    """What a row adds to the two Linears of a block: a product of two narrow ones (Hu et al. 2022).

    widen_in:   (batch, rank, 3 * width);  widen_out:  (batch, hidden, rank)
    narrow_in:  (batch, rank, hidden);     narrow_out: (batch, width, rank)
    """

    widen_in: Tensor
    widen_out: Tensor
    narrow_in: Tensor
    narrow_out: Tensor


class ShiftBlock(nn.Module):
    """One residual block; reaches `dilation` frames to each side."""

    def __init__(self, width: int, hidden: int, *, condition: int = 0, dilation: int = 1) -> None:
        """Make a block.

        width:     channels in and out
        hidden:    channels between the two Linears
        condition: channels of the conditioning vector, 0 for none
        """
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.modulate = nn.Linear(condition, 2 * width) if condition else None
        self.widen = nn.Linear(3 * width, hidden)
        self.narrow = nn.Linear(hidden, width)
        nn.init.zeros_(self.narrow.bias)
        with torch.no_grad():
            self.narrow.weight.mul_(
                0.3
            )  # residual branches start small: stable without warm tricks
            if self.modulate is not None:
                self.modulate.weight.mul_(0.1)
                self.modulate.bias.zero_()

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        condition: Tensor | None = None,
        offsets: Offsets | None = None,
    ) -> Tensor:
        """Apply the block; padded frames stay exactly zero, so a row never sees its batch.

        x:         (batch, frames, channels), zero where `mask` is zero
        mask:      (batch, frames, 1) one for valid frames
        condition: (batch, 1 or frames, condition channels)
        """
        y = self.norm(x)
        if self.modulate is not None and condition is not None:
            scale, shift = self.modulate(condition).chunk(2, dim=-1)
            y = y * (1 + scale) + shift
        taps = gather_taps(y * mask, self.dilation)
        y = self.widen(taps)
        if offsets is not None:
            y = y + taps @ offsets.widen_in.mT @ offsets.widen_out.mT
        inside = nn.functional.silu(y)
        y = self.narrow(inside)
        if offsets is not None:
            y = y + inside @ offsets.narrow_in.mT @ offsets.narrow_out.mT
        moved: Tensor = x + y * mask
        return moved


class ShiftStack(nn.Module):
    """Several blocks in a row; `reach` is how many frames one output sees on each side."""

    def __init__(
        self, width: int, hidden: int, dilations: tuple[int, ...], *, condition: int = 0
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ShiftBlock(width, hidden, condition=condition, dilation=d) for d in dilations
        )
        self.reach = sum(dilations)

    def forward(
        self,
        x: Tensor,
        mask: Tensor,
        condition: Tensor | None = None,
        offsets: Sequence[Offsets] = (),
    ) -> Tensor:
        """Apply all blocks; shapes as in `ShiftBlock.forward`, offsets one a block or none."""
        x = x * mask
        for number, block in enumerate(self.blocks):
            x = block(x, mask, condition, offsets[number] if offsets else None)
        return x
