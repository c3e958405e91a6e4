"""What a stream keeps of frames it has rendered, or all streams of a voice of their prompt.

Under the causal mask a frame never changes after it was rendered, so its keys and values, by Euler
step and layer, are all that later frames need of it, besides the frames that two convolutions look
back on. At the official sizes that is 1.8 MB a frame in 16 bit: 10 steps, 22 layers, 2 branches,
2 * 1024 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Convs = tuple[Tensor, ...]  # what each convolution saw last, (branches, frames, channels)


@dataclass(frozen=True)
class CacheShape:
    """heads: of both branches together."""

    num_steps: int
    depth: int
    heads: int
    head_width: int
    dtype: torch.dtype
    device: torch.device

    @property
    def frame_bytes(self) -> int:
        """Of keys and values."""
        numbers = self.num_steps * self.depth * 2 * self.heads * self.head_width
        return numbers * self.dtype.itemsize


class FrameCache:
    """Keys and values of one stretch of frames; grows by doubling where its end is not known."""

    def __init__(self, shape: CacheShape, num_frames: int, max_frames: int) -> None:
        """num_frames: expected; memory is taken by Euler step, when the first frames come."""
        self.shape, self.max_frames = shape, max_frames
        self.num_frames = min(num_frames, max_frames)
        self._steps: list[Tensor | None] = [None] * shape.num_steps
        self.convs: list[Convs | None] = [None] * shape.num_steps

    @property
    def num_bytes(self) -> int:
        kept = [*self._steps, *(conv for convs in self.convs for conv in convs or ())]
        return sum(tensor.nbytes for tensor in kept if tensor is not None)

    @property
    def bytes_due(self) -> int:
        """Memory of keys and values once all its frames have come."""
        return self.bytes_of(self.num_frames)

    def bytes_of(self, num_frames: int) -> int:
        """The same with room for so many frames."""
        return num_frames * self.shape.frame_bytes

    def grown(self, num_frames: int) -> int:
        """Frames to reserve so that this need not be done for every piece that follows."""
        if num_frames <= self.num_frames:
            return self.num_frames
        return min(max(num_frames, 2 * self.num_frames), self.max_frames)

    def reserve(self, num_frames: int) -> None:
        """Make room for so many frames in all."""
        assert num_frames <= self.max_frames
        self.num_frames = max(num_frames, self.num_frames)

    def write(self, step: int, layer: int, both: Tensor, begin: int) -> None:
        """Put keys and values of frames from `begin` on; writing them again does no harm.

        both: (2, heads, frames, width)
        """
        self._room(step)[layer, :, :, begin : begin + both.shape[2]] = both

    def read(self, step: int, layer: int, num_frames: int) -> Tensor:
        """A view of the first frames' keys and values, (2, heads, frames, width)."""
        return self._room(step)[layer, :, :, :num_frames]

    def _room(self, step: int) -> Tensor:
        room = self._steps[step]
        if room is not None and room.shape[3] >= self.num_frames:
            return room
        shape = self.shape
        wider = torch.empty(
            (shape.depth, 2, shape.heads, self.num_frames, shape.head_width),
            dtype=shape.dtype,
            device=shape.device,
        )
        if room is not None:
            wider[:, :, :, : room.shape[3]] = room
        self._steps[step] = wider
        return wider
