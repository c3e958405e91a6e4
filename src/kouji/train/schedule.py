"""The learning rate at a step: linear warm-up, then one of four decays.

A pure function of the step, so that nothing of it needs to be kept in a checkpoint.
"""

from __future__ import annotations

import math

from kouji.train.settings import RunSettings


def learning_rate_factor(step: int, settings: RunSettings) -> float:
    """What to multiply the base learning rate with at `step` (0-based, before the update).

    Rises linearly over `warmup_steps`, then falls from 1 to `final_ratio` at the last step.
    Cosine: Loshchilov & Hutter 2017, "SGDR", without restarts.
    """
    if step < settings.warmup_steps:
        return (step + 1) / (settings.warmup_steps + 1)
    falling_steps = max(settings.steps - 1 - settings.warmup_steps, 1)
    progress = min((step - settings.warmup_steps) / falling_steps, 1.0)
    last = settings.final_ratio
    if settings.decay == "constant":
        return 1.0
    if settings.decay == "linear":
        return 1.0 + (last - 1.0) * progress
    if settings.decay == "exponential":
        return float(max(last, 1e-8) ** progress)
    return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * progress))
