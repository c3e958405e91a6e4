"""The source the vocoder filters: sines of the voice's harmonics, and noise (Wang et al. 2019).

A sine's phase is the sum of frequencies so far. It is summed in float64 and rounded to float32 at
each frame, as torch's `cumsum` does on a CPU, so that a stream that takes up a sum goes on with
the same numbers: at a million radians the last bit of a float32 is 0.06.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.models.cosyvoice.config import SAMPLE_RATE, SAMPLES_PER_FRAME, HiftConfig


class HarmonicSource(nn.Module):
    """Frequencies to samples (upstream: `m_source`); float32."""

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.config = config
        self.l_linear = nn.Linear(config.num_harmonics + 1, 1)

    def turns(self, f0: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """Phases in turns at the end of each frame, and where to take up the sum.

        f0:      (frames,) float32, Hz
        before:  (harmonics,) float64, turns of the frames before
        returns: (frames, harmonics) float32; (harmonics,) float64
        """
        harmonics = torch.arange(1, self.config.num_harmonics + 2, device=f0.device)
        steps = (f0[:, None] * harmonics / SAMPLE_RATE) % 1
        summed = torch.cumsum(torch.cat([before[None], steps.double()]), dim=0)
        return summed[1:].float(), summed[-1]

    def stepped(self, f0: Tensor, turns: Tensor, noise: Tensor) -> Tensor:
        """Version 3's source: phases stand still within a frame, so frames need one sine each.

        f0:      (frames,) float32, Hz
        turns:   (frames, harmonics)
        noise:   (480 * frames,), weighted by `weigh`
        returns: (480 * frames,)
        """
        sines = self.config.sine_amplitude * _radians(turns).sin()
        is_voiced, level = self._voicing(f0)
        tones = F.linear(sines * is_voiced[:, None], self.l_linear.weight, self.l_linear.bias)
        spread = noise.reshape(-1, SAMPLES_PER_FRAME) * level[:, None]
        return (tones + spread).tanh().flatten()

    def gliding(self, f0: Tensor, turns: Tensor, noise: Tensor) -> Tensor:
        """Version 2's source: phases go straight from frame to frame. Arguments as in `stepped`."""
        phases = F.interpolate(
            _radians(turns).T[None], scale_factor=SAMPLES_PER_FRAME, mode="linear"
        )
        sines = self.config.sine_amplitude * phases[0].T.sin()
        is_voiced, level = (part.repeat_interleave(SAMPLES_PER_FRAME) for part in self._voicing(f0))
        tones = F.linear(sines * is_voiced[:, None], self.l_linear.weight, self.l_linear.bias)
        return (tones[:, 0] + noise * level).tanh()

    def weigh(self, noise: Tensor) -> Tensor:
        """(samples, harmonics) -> (samples,): what the linear layer makes of the noise."""
        return noise @ self.l_linear.weight[0].to(noise.device)

    def _voicing(self, f0: Tensor) -> tuple[Tensor, Tensor]:
        is_voiced = (f0 > self.config.voiced_threshold_hz).to(f0.dtype)
        unvoiced_level = self.config.sine_amplitude / 3
        return is_voiced, is_voiced * self.config.noise_sigma + (1 - is_voiced) * unvoiced_level


def _radians(turns: Tensor) -> Tensor:
    """In the official order, which float32 can tell."""
    return turns * 2 * math.pi * SAMPLES_PER_FRAME
