"""The sound source of the vocoder: a pulse train that follows f0, and noise by seed.

Harmonics get a phase that is continuous by construction, so the network only has to
learn envelopes (source-filter synthesis; cf. Wang et al. 2019, neural source-filter).
Pulses are made for a whole segment at once, noise is addressed by absolute frame: so a
chunk's source equals the whole's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kouji.models.mini.config import HOP_SAMPLES, LOG_F0_MEAN, LOG_F0_STD, SAMPLE_RATE

NOISE_BLOCK_FRAMES = 64
_TOP_HZ = 11_500.0  # harmonics stop below the Nyquist frequency of 12 kHz


def hertz(log_f0: Tensor) -> Tensor:
    """Undo the fixed scaling of normalised log-f0, limited to 50-800 Hz."""
    return torch.exp(log_f0.float() * LOG_F0_STD + LOG_F0_MEAN).clamp(50.0, 800.0)


def to_samples(frames: Tensor) -> Tensor:
    """Interpolate linearly between frame centres.

    frames:  (batch, frames)
    returns: (batch, frames * HOP_SAMPLES), constant beyond the outer centres
    """
    y = torch.nn.functional.interpolate(
        frames[:, None], scale_factor=float(HOP_SAMPLES), mode="linear", align_corners=False
    )
    return y[:, 0]


def pulse_train(f0: Tensor, voicing: Tensor) -> Tensor:
    """Band-limited pulses of unit power at f0, faded by voicing.

    f0:      (batch, frames) Hz
    voicing: (batch, frames) in [0, 1]
    returns: (batch, frames * HOP_SAMPLES)

    The sum of K equal cosines in closed form (Dirichlet kernel), K up to 11.5 kHz.
    """
    f0_samples = to_samples(f0.float())
    cycles = (f0_samples.double() / SAMPLE_RATE).cumsum(dim=1)
    half = (torch.pi * (cycles - cycles.floor())).float()  # half the angle, in [0, pi)
    count = (_TOP_HZ / f0_samples).floor()
    sine = torch.sin(half)
    is_peak = sine < 1e-4
    ratio = torch.sin((2 * count + 1) * half) / sine.masked_fill(is_peak, 1.0)
    kernel = torch.where(is_peak, count, (ratio - 1) / 2)
    return kernel * torch.rsqrt(count / 2) * to_samples(voicing.float())


def noise(seed: int, start_frame: int, num_frames: int) -> Tensor:
    """White noise of unit variance, the same for the same seed and absolute frames.

    returns: (num_frames * HOP_SAMPLES,)
    """
    first = start_frame // NOISE_BLOCK_FRAMES
    last = math.ceil((start_frame + num_frames) / NOISE_BLOCK_FRAMES)
    blocks = []
    for block in range(first, max(last, first + 1)):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + block) % (1 << 63))
        blocks.append(torch.randn(NOISE_BLOCK_FRAMES * HOP_SAMPLES, generator=generator))
    offset = (start_frame - first * NOISE_BLOCK_FRAMES) * HOP_SAMPLES
    return torch.cat(blocks)[offset : offset + num_frames * HOP_SAMPLES]
