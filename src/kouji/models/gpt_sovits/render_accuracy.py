"""How far two renderings of the same speech are apart: precisions, or a stream and the whole."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOWS = (512, 1024, 2048)  # samples, of the three resolutions


def stft_distance(seen: Tensor, wanted: Tensor, windows: tuple[int, ...] = WINDOWS) -> float:
    """Multi-resolution spectral convergence (Yamamoto et al. 2020).

    seen, wanted: (samples,) of equal length
    returns: |S - W| / |W| over magnitude spectra, the mean over resolutions; 0 is equal, 1 as far
             as silence
    """
    distances = []
    for size in windows:
        window = torch.hann_window(size)
        heard, meant = (
            torch.stft(part.float(), size, size // 4, window=window, return_complex=True).abs()
            for part in (seen, wanted)
        )
        distances.append(float((heard - meant).norm() / meant.norm()))
    return sum(distances) / len(distances)
