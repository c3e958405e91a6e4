"""The fine mel of `mini`: what its decoder says and its vocoder makes samples of.

Two mels of 10 ms stand side by side in one frame of 20 ms, so that networks keep the frame clock
of phones, pitch and references while sound is described twice as often, in windows half as long.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kouji.audio.features import MINI_FINE_MEL, mel_spectrogram
from kouji.models.mini.config import (
    FINE_MEAN,
    FINE_PER_FRAME,
    MEL_MEAN,
    MEL_STD,
    NUM_MELS,
)


def measure_fine_mel(samples: Tensor) -> Tensor:
    """The normalised fine mel of samples.

    samples: (batch, frames * HOP_SAMPLES)
    returns: (batch, frames, FINE_CHANNELS)
    """
    log_mel = mel_spectrogram(samples, MINI_FINE_MEL).transpose(1, 2)
    return torch.unflatten((log_mel - FINE_MEAN) / MEL_STD, 1, (-1, FINE_PER_FRAME)).flatten(2)


def one_after_another(fine: Tensor) -> Tensor:
    """The mels of (batch, frames, FINE_CHANNELS) in a row: (batch, 2 * frames, mels)."""
    return _side_by_side(fine).flatten(1, 2)


def log_magnitudes(fine: Tensor) -> Tensor:
    """The natural-log mel of a normalised one: (batch, mels, 2 * frames) float32."""
    return one_after_another(fine.float()).transpose(1, 2) * MEL_STD + FINE_MEAN


def coarse_mel(fine: Tensor) -> Tensor:
    """About what a mel of 20 ms would say: natural log, (batch, frames, mels) float32.

    The mean of both magnitudes, at the level a window of twice the length gives.
    """
    both = _side_by_side(fine.float()) * MEL_STD + MEL_MEAN
    return torch.logsumexp(both, dim=2) - torch.tensor(float(FINE_PER_FRAME)).log()


def join_bands(low: Tensor, high: Tensor, border: int) -> Tensor:
    """Bands below `border` of one fine mel, the rest of another; (batch, frames, FINE_CHANNELS)."""
    parts = [_side_by_side(low)[..., :border], _side_by_side(high)[..., border:]]
    return torch.cat(parts, dim=3).flatten(2)


def _side_by_side(fine: Tensor) -> Tensor:
    """The mels of each frame: (batch, frames, FINE_PER_FRAME, mels)."""
    return torch.unflatten(fine, 2, (FINE_PER_FRAME, NUM_MELS))
