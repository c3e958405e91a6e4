"""Windowed-sinc resampling in torch, the definition the big models' front ends were trained with.

General resampling of user audio is `resample` (soxr); this exists because prompt features of
CosyVoice and GPT-SoVITS are defined through this exact filter, and because it is differentiable.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from kouji.errors import UsageError

ZERO_CROSSINGS = 6  # half width of the filter, in zero crossings of the sinc
ROLLOFF = 0.99  # cutoff as a share of the lower Nyquist frequency


def sinc_resample(samples: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Resample by a Hann-windowed sinc (J. O. Smith, "Digital Audio Resampling").

    samples: (batch, samples) float
    returns: (batch, ceil(samples * target_rate / source_rate))
    """
    if source_rate <= 0 or target_rate <= 0:
        raise UsageError(
            "sample rates must be positive", seen=(source_rate, target_rate), allowed="> 0 Hz"
        )
    if source_rate == target_rate or samples.shape[-1] == 0:
        return samples
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    kernel, width = _phase_filters(source, target, samples.device, samples.dtype)
    padded = torch.nn.functional.pad(samples, (width, width + source))
    phases = torch.nn.functional.conv1d(padded[:, None], kernel[:, None], stride=source)
    resampled = phases.transpose(1, 2).reshape(samples.shape[0], -1)  # interleave the phases
    return resampled[:, : -(-target * samples.shape[-1] // source)]


@lru_cache(maxsize=16)
def _phase_filters(
    source: int, target: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, int]:
    """One filter per output phase: (target, taps), and the samples it reaches to the left."""
    base = min(source, target) * ROLLOFF
    width = math.ceil(ZERO_CROSSINGS * source / base)
    with torch.inference_mode(False):
        taps = torch.arange(-width, width + source, dtype=torch.float64) / source
        # In float32 as the trained front ends had it: 4e-6 in the samples where 1 / target rounds.
        phase = (torch.arange(target, dtype=torch.float32) / target).double()
        time = ((taps[None] - phase[:, None]) * base).clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS)
        window = torch.cos(time * (math.pi / ZERO_CROSSINGS / 2)).square()
        kernel = torch.sinc(time) * window * (base / source)
        return kernel.to(device=device, dtype=dtype), width
