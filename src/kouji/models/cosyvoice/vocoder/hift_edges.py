"""What lies beside the frames a layer of the vocoder is given: history, or the ends of a sentence.

A layer asks for room, writes its frames there and gets back what its convolution reads. The causal
vocoder puts the last inputs of the call before in front, and nothing is computed twice; the other
one's convolutions pad with zeros, and only rows of a padded batch need them behind their own end.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

Memory = list[Tensor]
"""What one row keeps: the last inputs, (reach, channels), of each layer in turn."""


class Edges(Protocol):
    """The surroundings of one call's rows, layer by layer in the order they are computed."""

    def open(self, like: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """Room for a layer's input.

        like:    (rows, frames, channels), what it will be like
        reach:   frames of history the layer looks at
        returns: the room, and the part of it where `frames` frames are to be written
        """
        ...

    def close(self, room: Tensor, rate: int) -> Tensor:
        """What the layer reads, once the room is written; before the next `open`.

        rate: its frames for each frame of mel
        """
        ...

    def reflected(self, x: Tensor, rate: int) -> Tensor:
        """`x` one frame later: in front the frame before, at the very beginning the second."""
        ...


def joined(x: Tensor, reach: int, rate: int, edges: Edges) -> Tensor:
    """`x` with what lies beside it."""
    room, inside = edges.open(x, reach)
    inside.copy_(x)
    return edges.close(room, rate)


class History:
    """Edges of a causal network: what each row's call before left.

    Rows of different lengths lie padded beside each other: what is causal never sees what follows.
    Frames behind a row's `num_frames` are not remembered: the next call computes them again.
    """

    def __init__(self, memories: Sequence[Memory], num_frames: Sequence[int]) -> None:
        """Take up where the rows stopped.

        memories:   of each row; empty before its first frame
        num_frames: of mel, new in this call, of each row
        """
        self._before, self._counts = memories, num_frames
        self._after: list[Tensor] = []  # by layer, (rows, reach, channels)
        self._reach = 0

    @property
    def memories(self) -> list[Memory]:
        """Of each row, for its next call."""
        return [[layer[row] for layer in self._after] for row in range(len(self._counts))]

    def open(self, like: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """See `Edges`."""
        rows, num_frames, channels = like.shape
        room = like.new_empty(rows, reach + num_frames, channels)
        layer, self._reach = len(self._after), reach
        if any(self._before):
            zeros = like.new_zeros(reach, channels)
            kept = [memory[layer] if memory else zeros for memory in self._before]
            torch.stack(kept, out=room[:, :reach]) if rows > 1 else room[0, :reach].copy_(kept[0])
        else:
            room[:, :reach] = 0
        return room, room[:, reach:]

    def close(self, room: Tensor, rate: int) -> Tensor:
        """See `Edges`."""
        starts = [count * rate for count in self._counts]
        if len(set(starts)) == 1:
            kept = room[:, starts[0] : starts[0] + self._reach].clone()
        else:
            first = torch.tensor(starts, device=room.device)[:, None]
            rows = torch.arange(len(starts), device=room.device)[:, None]
            kept = room[rows, first + torch.arange(self._reach, device=room.device)]
        self._after.append(kept)
        return room

    def reflected(self, x: Tensor, rate: int) -> Tensor:
        """See `Edges`."""
        later = joined(x, 1, rate, self)
        for row, memory in enumerate(self._before):
            if not memory:
                later[row, 0] = x[row, 1]
        return later


class Ends:
    """Edges of a network whose convolutions pad with zeros themselves; rows begin together.

    Where a row is padded, each layer's input is zero behind the row's own end.
    """

    def __init__(self, lengths: Sequence[int], num_frames: int, last_rate: int) -> None:
        """Know where rows end.

        lengths:    frames of mel of each row
        num_frames: of the padded batch
        last_rate:  of the last stage, where rows have one frame more
        """
        self._lengths, self._last_rate, self._start = lengths, last_rate, 0
        self._is_padded = any(length < num_frames for length in lengths)

    def behind(self, start: int) -> Ends:
        """The same for a stretch whose first frame, at its layer's rate, is `start`."""
        other = copy.copy(self)
        other._start = start
        return other

    def open(self, like: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        """See `Edges`."""
        del reach
        room = torch.empty_like(like)
        return room, room

    def close(self, room: Tensor, rate: int) -> Tensor:
        """See `Edges`."""
        if self._is_padded:
            more = int(rate == self._last_rate) - self._start
            ends = [max(0, length * rate + more) for length in self._lengths]
            if len(ends) == 1:
                room[:, ends[0] :] = 0
            else:
                frames = torch.arange(room.shape[1], device=room.device)
                is_beyond = frames >= torch.tensor(ends, device=room.device)[:, None]
                room.masked_fill_(is_beyond[..., None], 0)
        return room

    def reflected(self, x: Tensor, rate: int) -> Tensor:
        """See `Edges`."""
        del rate
        return torch.cat([x[:, 1:2], x], dim=1)
