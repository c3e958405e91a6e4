"""The vocoder's two transforms over windows of 16 samples, every 4: as matrix products.

Frames are centred: frame m covers samples 4 m - 8 to 4 m + 7. Float32.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MAX_MAGNITUDE = 100.0


class Spectrum(nn.Module):
    """Both transforms of one size; knows nothing of where a sentence begins or ends."""

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.num_bins = n_fft // 2 + 1
        self.num_overlaps = n_fft // hop_length
        window = torch.hann_window(n_fft, dtype=torch.float64)
        times, bins = torch.arange(n_fft), torch.arange(self.num_bins)
        angles = 2 * math.pi / n_fft * torch.outer(bins, times).double()
        both = torch.cat([angles.cos(), -angles.sin()])  # real parts, imaginary parts
        counted = torch.full((self.num_bins,), 2.0, dtype=torch.float64)
        counted[[0, -1]] = 1  # the others stand for their conjugates too
        self.forth: Tensor
        self.back: Tensor
        self.shares: Tensor
        self._fixed("forth", both * window)
        self._fixed("back", (both * counted.repeat(2)[:, None] * window / n_fft).T)
        # By overlap, what a frame adds to the sum of squared windows.
        self._fixed("shares", (window**2).reshape(self.num_overlaps, hop_length))

    def _fixed(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.float(), persistent=False)

    def analyse(self, samples: Tensor) -> Tensor:
        """Windows into their spectra.

        samples: (4 * frames + 12,), from the first window's first sample on
        returns: (frames, 18): nine real parts, nine imaginary
        """
        return F.linear(samples.unfold(0, self.n_fft, self.hop_length), self.forth)

    def windows(self, features: Tensor) -> Tensor:
        """The windows that the network's last layer describes, not added up yet.

        features: (..., 18): nine logarithms of magnitudes, nine that turn phases
        returns:  (..., 16)
        """
        sizes, turns = features.tensor_split(2, dim=-1)
        magnitude, phase = sizes.exp().clamp(max=MAX_MAGNITUDE), turns.sin()
        parts = torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=-1)
        return F.linear(parts, self.back)

    def overlapped(self, windows: Tensor) -> Tensor:
        """Add windows up where they overlap, and take the sum of the squared windows out.

        windows: (rows, 3 + frames, 16); the three are the frames before
        returns: (rows, 4 * frames), from 4 m - 8 on, m being the first frame behind the three
        """
        count, hop = self.num_overlaps, self.hop_length
        num_frames = windows.shape[1] - count + 1
        total = windows.new_zeros(windows.shape[0], num_frames, hop)
        for overlap in range(count):
            start = count - 1 - overlap
            part = windows[:, start : start + num_frames]
            total += part[:, :, overlap * hop : (overlap + 1) * hop]
        return (total / self.shares.sum(0)).flatten(1)

    @property
    def first_gain(self) -> Tensor:
        """(4,) for the first samples of all, which one window less reaches."""
        return self.shares.sum(0) / self.shares[:-1].sum(0)

    @property
    def last_gain(self) -> Tensor:
        """(4,) for the last samples of all."""
        return self.shares.sum(0) / self.shares[1:].sum(0)
