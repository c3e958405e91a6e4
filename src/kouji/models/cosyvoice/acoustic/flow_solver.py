"""Euler's method over the cosine schedule, with classifier-free guidance.

Flow matching: Lipman et al. 2023; guidance: Ho and Salimans 2022. Both versions solve alike.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class EulerStep(NamedTuple):
    """From `time` (0: noise, 1: mel) on by `width`."""

    time: float
    width: float


@cache
def euler_steps(num_steps: int) -> tuple[EulerStep, ...]:
    """Steps whose ends lie at 1 - cos(pi / 2 * k / num_steps).

    Times are summed in float32 as the official solver does, which moves a last bit now and then.
    """
    ends = 1 - torch.cos(torch.linspace(0, 1, num_steps + 1) * (0.5 * math.pi))
    steps, time = [], ends[0]
    for end in ends[1:]:
        width = end - time
        steps.append(EulerStep(float(time), float(width)))
        time = time + width
    return tuple(steps)


def guided(conditioned: Tensor, free: Tensor, rate: float) -> Tensor:
    """The velocity pushed away from what the network would do unasked; any shape.

    rate: 0 takes the conditioned one as it is
    """
    return (1 + rate) * conditioned - rate * free
