"""The one noise every flow starts from: frame by frame the same in each request.

It is what makes a mel a function of its tokens, and a piece equal to the same frames of the whole.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from kouji.models.cosyvoice.config import MELS, NOISE_FRAMES

NOISE_SEED = 0


@cache
def fixed_noise() -> Tensor:
    """Where the solver begins, (NOISE_FRAMES, 80) float32 on the CPU, 4.8 MB; not to be written to.

    The values of torch's global generator after `manual_seed(0)`, drawn as (80, NOISE_FRAMES) by a
    generator of our own: nobody else's random numbers change.
    """
    generator = torch.Generator().manual_seed(NOISE_SEED)
    return torch.randn(MELS, NOISE_FRAMES, generator=generator).T.contiguous()
