"""A sound made here for a first try of the tab Sounds: a clock that ticks, then rain.

Drawn from numbers, so it is nobody's recording; how well a classifier knows it says little of how
well it knows real ones.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from kouji.audio.encode import encode_bytes
from kouji.types import Audio

SAMPLE_RATE = 22_050
_PART_SECONDS = 5.0
_TICK_SECONDS = 0.5
_DROPS_PER_SECOND = 400


@cache
def example_wav() -> bytes:
    """Five seconds each, as a WAV file."""
    draw = np.random.default_rng(10)
    samples = np.concatenate([_ticks(), _rain(draw)])
    edge = np.linspace(0, 1, SAMPLE_RATE // 50)
    samples[: len(edge)] *= edge
    samples[-len(edge) :] *= edge[::-1]
    return encode_bytes(Audio(samples.astype(np.float32), SAMPLE_RATE), "wav", None)


def _ticks() -> NDArray[np.float64]:
    """Two notes in turn, as an escapement has them: a click and a little of its case."""
    samples = np.zeros(round(_PART_SECONDS * SAMPLE_RATE))
    times = np.arange(round(0.06 * SAMPLE_RATE)) / SAMPLE_RATE
    for number in range(round(_PART_SECONDS / _TICK_SECONDS)):
        pitch_hz = 3400.0 if number % 2 else 2700.0
        click = np.exp(-times / 0.004) * np.sin(2 * np.pi * pitch_hz * times)
        case = 0.3 * np.exp(-times / 0.015) * np.sin(2 * np.pi * 900.0 * times)
        start = round((0.1 + number * _TICK_SECONDS) * SAMPLE_RATE)
        samples[start : start + len(times)] += 0.6 * (click + case)
    return samples


def _rain(draw: np.random.Generator) -> NDArray[np.float64]:
    """Drops on leaves: short bursts at random moments over a hiss."""
    num_samples = round(_PART_SECONDS * SAMPLE_RATE)
    samples = 0.03 * draw.standard_normal(num_samples)
    times = np.arange(round(0.01 * SAMPLE_RATE)) / SAMPLE_RATE
    for start in draw.integers(
        0, num_samples - len(times), round(_PART_SECONDS * _DROPS_PER_SECOND)
    ):
        pitch_hz, loud = draw.uniform(1500, 8000), 0.08 * draw.exponential()
        drop = np.exp(-times / 0.0015) * np.sin(2 * np.pi * pitch_hz * times)
        samples[start : start + len(times)] += loud * drop
    return np.clip(samples, -1, 1)
