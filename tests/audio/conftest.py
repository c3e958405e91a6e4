"""Made-up speech for the tests of cleaning and slicing, so that they run without the corpus."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest

from kouji.types import Audio

MakeSpeech = Callable[..., Audio]


@pytest.fixture(scope="session")
def make_speech() -> MakeSpeech:
    """Four syllables a second of a buzz through three moving formants; the VAD takes it for speech.

    make_speech(seconds, rate=24000, seed=0, pauses=((start, end), ...)) -> Audio, peak 0.5, with
    faint noise 74 dB below full scale everywhere.
    """
    return _make_speech


@lru_cache(maxsize=16)
def _make_speech(
    seconds: float,
    rate: int = 24000,
    seed: int = 0,
    pauses: tuple[tuple[float, float], ...] = (),
) -> Audio:
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    f0 = 120 + 25 * np.sin(2 * np.pi * 0.7 * time) + 8 * np.sin(2 * np.pi * 2.3 * time)
    phase = 2 * np.pi * np.cumsum(f0) / rate
    syllable = (time * 4).astype(int)
    targets = generator.uniform([300, 900, 2300], [800, 2200, 3000], (syllable.max() + 1, 3))
    kernel = np.hanning(round(0.08 * rate))
    reach = len(kernel)
    formants = [
        np.convolve(np.pad(column[syllable], reach, mode="edge"), kernel / kernel.sum(), "same")
        for column in targets.T
    ]
    voice = np.zeros(len(time))
    for order in range(1, 40):
        frequency = order * f0
        gain = sum(
            weight / (1 + ((frequency - formant[reach:-reach]) / width) ** 2)
            for formant, weight, width in zip(formants, (1, 0.6, 0.3), (60, 100, 140), strict=True)
        )
        voice += np.where(frequency < min(rate / 2, 5000), gain * np.sin(order * phase), 0)
    voice *= np.clip(1.2 * np.sin(np.pi * ((time * 4) % 1)) ** 0.6, 0, 1)
    for start, end in pauses:
        voice[round(start * rate) : round(end * rate)] = 0
    voice *= 0.5 / np.abs(voice).max()
    voice += 2e-4 * generator.standard_normal(len(time))
    samples = voice.astype(np.float32)
    samples.setflags(write=False)  # tests share it
    return Audio(samples, rate)
