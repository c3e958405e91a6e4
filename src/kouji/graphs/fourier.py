"""Fourier transforms of sliding windows as convolutions, which every runtime has.

Analysis is a convolution whose filters are windowed cosines and sines, synthesis with overlap-add
the transposed one. Made in float64, so that a graph differs from an FFT by rounding only.
"""

from __future__ import annotations

import torch
from torch import Tensor


def analysis_filters(window: Tensor, size: int, *, start: int = 0) -> Tensor:
    """Filters of `torch.nn.functional.conv1d` that give spectra of windows.

    window:  (window samples,); it lies `start` samples into a transform of `size`
    returns: (2 * bins, 1, window samples) float32: real parts of all bins, then imaginary ones
    """
    times = torch.arange(len(window), dtype=torch.float64) + start
    angles = _angles(times, size)
    basis = torch.cat([angles.cos(), -angles.sin()]) * window.double()
    return basis.float()[:, None].contiguous()


def synthesis_filters(window: Tensor) -> Tensor:
    """Filters of `conv_transpose1d` that turn spectra to windows and overlap-add them.

    window:  (size,) what each inverse transform is multiplied by
    returns: (2 * bins, 1, size) float32, bins as `analysis_filters` orders them
    """
    size = len(window)
    angles = _angles(torch.arange(size, dtype=torch.float64), size)
    share = torch.full((len(angles), 1), 2.0 / size, dtype=torch.float64)
    share[0] = 1.0 / size
    if size % 2 == 0:
        share[-1] = 1.0 / size
    basis = torch.cat([share * angles.cos(), -share * angles.sin()]) * window.double()
    return basis.float()[:, None].contiguous()


def _angles(times: Tensor, size: int) -> Tensor:
    """(bins, times); whole turns are dropped first, in whole numbers, so nothing is lost."""
    bins = torch.arange(size // 2 + 1, dtype=torch.float64)
    return 2 * torch.pi / size * torch.remainder(bins[:, None] * times, size)
