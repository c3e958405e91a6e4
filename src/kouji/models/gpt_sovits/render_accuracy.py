"""How far two renderings of the same speech are apart: precisions, or a stream and the whole."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WINDOWS = (512, 1024, 2048)  # samples, of the three resolutions


Samples = Tensor | NDArray[np.float32]


def stft_distance(seen: Samples, wanted: Samples, windows: tuple[int, ...] = WINDOWS) -> float:
    """Multi-resolution spectral convergence (Yamamoto et al. 2020).

    seen, wanted: (samples,) of equal length
    returns: |S - W| / |W| over magnitude spectra, the mean over resolutions; 0 is equal, 1 as far
             as silence
    """
    pair = [torch.as_tensor(part).float().cpu() for part in (seen, wanted)]
    distances = []
    for size in windows:
        window = torch.hann_window(size)
        heard, meant = (
            torch.stft(part, size, size // 4, window=window, return_complex=True).abs()
            for part in pair
        )
        distances.append(float((heard - meant).norm() / meant.norm()))
    return sum(distances) / len(distances)
