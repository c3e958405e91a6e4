"""A classifier of toy width with random weights: real classes, answers in milliseconds."""

from __future__ import annotations

from pathlib import Path

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
