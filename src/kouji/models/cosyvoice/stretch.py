"""Another pace for a mel: frames read at other times, between neighbours along a line.

The official code stretches whole mels this way (`F.interpolate`, linear, without aligned
corners), at a pace rounded so that their frames come out even. A stream, whose length is not
known, is read at the pace itself: by the end up to one frame beside.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def stretch_whole(mel: Tensor, speed: float) -> Tensor:
    """(frames, mels) -> (int(frames / speed), mels), at least one frame."""
    num_frames = max(1, int(len(mel) / speed))
    return F.interpolate(mel.T[None], size=num_frames, mode="linear")[0].T


class MelStretch:
    """One stream at another speed; holds back the frames that later ones still touch."""

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._kept = torch.zeros(0)  # (frames, mels) from `_start` on
        self._start = self._num_seen = self._num_given = 0

    def push(self, mel: Tensor, *, is_final: bool) -> Tensor:
        """The frames that can be read now; joined they are int(frames / speed)."""
        if self.speed == 1.0:
            return mel
        self._kept = torch.cat([self._kept.to(mel), mel]) if len(self._kept) else mel
        self._num_seen += len(mel)
        if is_final:
            end = max(1, int(self._num_seen / self.speed))
        else:  # both neighbours of the last one read must be there
            end = max(self._num_given, int((self._num_seen - 0.5) / self.speed - 0.5))
        at = (torch.arange(self._num_given, end, dtype=torch.float64) + 0.5) * self.speed - 0.5
        at = at.clamp(0, max(0, self._num_seen - 1)).to(mel.device)
        left = at.floor().long()
        share = (at - left).to(mel.dtype).unsqueeze(1)
        right = (left + 1).clamp(max=self._num_seen - 1)
        made = torch.lerp(self._kept[left - self._start], self._kept[right - self._start], share)
        self._num_given = end
        self._forget()
        return made

    def _forget(self) -> None:
        next_at = max(0, int((self._num_given + 0.5) * self.speed - 0.5))
        kept = min(max(self._start, next_at), self._num_seen - 1)
        self._kept = self._kept[kept - self._start :].clone()
        self._start = kept
