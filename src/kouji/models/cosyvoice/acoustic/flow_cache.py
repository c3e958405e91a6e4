"""What a stream keeps of frames it has rendered, and what all streams of a voice share.

Under the causal mask a frame never changes after it was rendered, so its keys and values, by Euler
step and layer, are all that later frames need of it, besides the frames that two convolutions look
back on. At the official sizes that is 1.8 MB a frame in 16 bit: 10 steps, 22 layers, 2 branches,
2 * 1024 numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

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

    def reserve(self, num_frames: int) -> None:
        """Make room for so many frames in all."""
        assert num_frames <= self.max_frames
        if num_frames > self.num_frames:
            self.num_frames = min(max(num_frames, 2 * self.num_frames), self.max_frames)

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


@dataclass
class KeptPrompts:
    """Caches of prompts by voice, the least recently used given up first."""

    max_bytes: int
    _prompts: OrderedDict[str, FrameCache] = field(default_factory=OrderedDict)

    @property
    def num_bytes(self) -> int:
        return sum(prompt.num_bytes for prompt in self._prompts.values())

    def get(self, key: str) -> FrameCache | None:
        """A prompt that is complete; not to be written to."""
        prompt = self._prompts.get(key)
        if prompt is not None:
            self._prompts.move_to_end(key)
        return prompt

    def put(self, key: str, prompt: FrameCache) -> FrameCache:
        """Keep a complete prompt, if it fits; returns the one to use from now on."""
        kept = self.get(key)
        if kept is not None:
            return kept
        if prompt.num_bytes <= self.max_bytes:
            self._prompts[key] = prompt
        while self.num_bytes > self.max_bytes:
            self._prompts.popitem(last=False)
        return prompt

    def holds(self, prompt: FrameCache | None) -> bool:
        """True where somebody else counts its memory."""
        return any(kept is prompt for kept in self._prompts.values())
