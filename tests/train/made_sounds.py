"""A folder per class of made-up sounds, distinct enough to be learned in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

RATE = 8000
CLASSES = ("hiss", "high", "low")
MODEL: dict[str, Any] = {
    "architecture": "two-conv",
    "width": 4,
    "sample_rate": RATE,
    "n_fft": 256,
    "hop_length": 128,
    "num_mels": 16,
    "window_seconds": 0.5,
}


def make_sounds(folder: Path, per_class: int = 6, seed: int = 0) -> Path:
    """Noise, a high and a low tone; folder layout, so folds are made by the reader."""
    rng = np.random.default_rng(seed)
    for label in CLASSES:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            seconds = rng.uniform(0.3, 1.2)
            times = np.arange(int(seconds * RATE)) / RATE
            hertz = {"hiss": 0.0, "high": rng.uniform(2000, 3000), "low": rng.uniform(150, 300)}
            sound = 0.3 * np.sin(2 * np.pi * hertz[label] * times)
            if label == "hiss":
                sound = rng.normal(0, 0.1, len(times))
            soundfile.write(folder / label / f"{label}{number}.wav", sound, RATE)
    return folder
