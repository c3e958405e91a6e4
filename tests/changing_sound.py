"""A sound of which no two stretches are alike."""

from __future__ import annotations

import numpy as np

from kouji.types import Audio


def changing_sound(seconds: float, sample_rate: int = 16_000, seed: int = 0) -> Audio:
    """Noise whose loudness and colour change each half second."""
    draw = np.random.default_rng(seed)
    num_samples = round(seconds * sample_rate)
    pieces = []
    for _ in range(1 + int(2 * seconds)):
        noise = draw.standard_normal(sample_rate // 2)
        dull = np.convolve(noise, np.ones(8) / 8, "same")
        share = draw.uniform()
        pieces.append(draw.uniform(0.02, 0.2) * (share * noise + (1 - share) * dull))
    samples = np.clip(np.concatenate(pieces)[:num_samples], -1, 1)
    return Audio(samples.astype(np.float32), sample_rate)
