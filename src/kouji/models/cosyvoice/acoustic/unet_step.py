"""One Euler step of several pieces at once, as version 2's packed estimator sees it.

Pieces lie end to end, each with its guided and its free branch, so that products have all frames
of all rows in one matrix and nothing is padded. Only what looks at other frames knows where a
piece begins: convolutions, which look two frames back, and attention. What either has to remember
for the next piece is gathered here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.models.cosyvoice.acoustic.flow_attention import Span, attend
from kouji.models.cosyvoice.acoustic.relative_attention import bounded
from kouji.models.cosyvoice.acoustic.unet import TAPS

BRANCHES = 2  # guided, free
FRAMES_BEHIND = TAPS - 1


@dataclass(frozen=True)
class StepCache:
    """What one Euler step keeps of the frames before; never written to, so it may be shared.

    convs:  (branches, 2 frames, width) each, the last inputs of every convolution
    blocks: of every transformer block the keys and values of one piece after the other,
            (2, branches * heads, frames, width) each
    """

    convs: tuple[Tensor, ...] = field(default=(), repr=False)
    blocks: tuple[tuple[Tensor, ...], ...] = field(default=(), repr=False)

    @cached_property
    def block_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(block.nbytes for pieces in self.blocks for block in pieces)

    @cached_property
    def num_bytes(self) -> int:
        """Memory of all tensors."""
        return self.block_bytes + sum(conv.nbytes for conv in self.convs)


class PieceStep(NamedTuple):
    """A piece at one of its Euler steps.

    step:  its number, from 0
    spans: what its frames see
    past:  what the same step of the pieces before left; None: the piece is the first
    keeps: a piece will follow
    """

    step: int
    spans: Sequence[Span]
    past: StepCache | None
    keeps: bool

    @property
    def num_frames(self) -> int:
        """In each branch."""
        return self.spans[-1].end


class RaggedStep:
    """Where everything lies in the batch; convolutions and blocks must be met in order."""

    def __init__(
        self, pieces: Sequence[PieceStep], cache_dtype: torch.dtype, device: torch.device
    ) -> None:
        self.pieces, self.cache_dtype = pieces, cache_dtype
        sizes = [BRANCHES * piece.num_frames for piece in pieces]
        self.offsets = [0, *accumulate(sizes)]
        self._convs: list[list[Tensor]] = [[] for _ in pieces]
        self._blocks: list[list[tuple[Tensor, ...]]] = [[] for _ in pieces]
        self._num_convs = self._num_blocks = 0
        rows = [self._rows_of(number) for number in range(len(pieces))]
        taps = torch.cat([row.unfold(1, TAPS, 1).flatten() for row in rows])
        tails = torch.cat([row[:, -FRAMES_BEHIND:].flatten() for row in rows])
        steps = torch.tensor([piece.step for piece in pieces]).repeat_interleave(
            torch.tensor(sizes)
        )
        self._taps, self._tails, self.steps = (t.to(device) for t in (taps, tails, steps))
        self._keeps = any(piece.keeps for piece in pieces)

    def _rows_of(self, number: int) -> Tensor:
        """Where a piece's frames lie in `gather_taps`, those before it first: (branches, rows)."""
        num_frames = self.pieces[number].num_frames
        per_piece = BRANCHES * FRAMES_BEHIND
        behind = number * per_piece + torch.arange(per_piece).view(BRANCHES, -1)
        start = len(self.pieces) * per_piece + self.offsets[number]
        own = start + torch.arange(BRANCHES * num_frames).view(BRANCHES, -1)
        return torch.cat([behind, own], dim=1)

    def gather_taps(self, x: Tensor) -> Tensor:
        """Put every frame behind the two before it, zeros before the first.

        x:       (frames, width)
        returns: (frames, 3 * width)
        """
        number, self._num_convs = self._num_convs, self._num_convs + 1
        behind = [
            x.new_zeros(BRANCHES * FRAMES_BEHIND, x.shape[1])
            if piece.past is None
            else piece.past.convs[number].flatten(0, 1)
            for piece in self.pieces
        ]
        known = torch.cat([*behind, x])
        if self._keeps:
            tails = known.index_select(0, self._tails)
            tails = tails.view(len(self.pieces), BRANCHES, FRAMES_BEHIND, -1)
            for piece, kept, tail in zip(self.pieces, self._convs, tails, strict=True):
                if piece.keeps:
                    kept.append(tail.clone())  # or it would hold its mates' memory
        return known.index_select(0, self._taps).view(len(x), -1)

    def attend(self, qkv: Tensor, num_heads: int) -> Tensor:
        """(frames, 3 * heads * width) -> (frames, heads * width)."""
        number, self._num_blocks = self._num_blocks, self._num_blocks + 1
        heard = []
        for at, piece in enumerate(self.pieces):
            own = qkv[self.offsets[at] : self.offsets[at + 1]]
            own = own.view(BRANCHES, piece.num_frames, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
            q, both = own[0].flatten(0, 1), own[1:].flatten(1, 2)
            # Rounded even where it is not kept, so that pieces give what the whole gives.
            blocks: tuple[Tensor, ...] = (both.to(self.cache_dtype),)
            if piece.past is not None:
                blocks = piece.past.blocks[number] + blocks
            if piece.keeps:
                self._blocks[at].append(blocks)
            y = attend(q * q.shape[-1] ** -0.5, blocks, bounded(piece.spans))
            y = y.view(BRANCHES, num_heads, piece.num_frames, -1).transpose(1, 2)
            heard.append(y.reshape(BRANCHES * piece.num_frames, -1))
        return torch.cat(heard)

    def split(self, y: Tensor) -> list[Tensor]:
        """(frames, width) of all pieces as (branches, frames, width) of each."""
        return [
            y[begin:end].view(BRANCHES, (end - begin) // BRANCHES, -1)
            for begin, end in pairwise(self.offsets)
        ]

    def caches(self) -> list[StepCache | None]:
        """What each piece leaves for the next, after the last layer."""
        return [
            StepCache(tuple(convs), tuple(blocks)) if piece.keeps else None
            for piece, convs, blocks in zip(self.pieces, self._convs, self._blocks, strict=True)
        ]
