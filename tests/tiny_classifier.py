"""A classifier of toy width with random weights: real classes, answers in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch

from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.model import SoundModel
from kouji.models.classifier.weights import save_classifier

RATE = 8000
LABELS = ("dog", "rain", "saw")


def make_tiny_model(architecture: str = "resnet18", window_seconds: float = 1.0) -> SoundModel:
    """The same weights each time; no window sounds like another to them."""
    config = ClassifierConfig.from_dict(
        {
            "labels": LABELS,
            "architecture": architecture,
            "width": 8,
            "sample_rate": RATE,
            "n_fft": 256,
            "hop_length": 128,
            "num_mels": 16,
            "window_seconds": window_seconds,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SoundModel(config)
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms that begin as zeros would hide the window
                torch.nn.init.normal_(parameter)
        torch.nn.init.normal_(model.network.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    return model.eval()


def make_tiny_classifier(folder: Path, architecture: str = "resnet18") -> Path:
    """The folder of such a classifier."""
    return save_classifier(folder, make_tiny_model(architecture), {"data": "none"})


def make_labelled_sounds(folder: Path, per_class: int = 6) -> Path:
    """A folder per class of `LABELS`: a low tone, noise and a high tone, of 0.3 to 1.2 s."""
    rng = np.random.default_rng(0)
    hertz = {"dog": 200.0, "saw": 2500.0}
    for label in LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(per_class):
            times = np.arange(int(rng.uniform(0.3, 1.2) * RATE)) / RATE
            tone = np.sin(2 * np.pi * hertz.get(label, 0.0) * rng.uniform(0.8, 1.2) * times)
            sound = 0.3 * tone if label in hertz else rng.normal(0, 0.1, len(times))
            soundfile.write(folder / label / f"{label}{number}.wav", sound, RATE)
    return folder
