"""A sound classifier as a graph: samples of windows in, probabilities out, log-mel inside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kouji.graphs.folder import (
    Report,
    Watcher,
    choose_formats,
    export_stages,
    open_folder,
    write_file,
)
from kouji.graphs.fourier import analysis_filters
from kouji.graphs.stage import Port, Sizes, Stage, Tensors
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.features import LogMel
from kouji.models.classifier.model import SoundModel
from kouji.models.classifier.weights import LoadedClassifier, load_classifier

LABELS_FILE = "labels.json"
STAGE = "classifier"
TOLERANCE = 1e-4  # of a probability
_TRIED_BATCHES = (1, 3)


class FramedLogMel(LogMel):
    """`LogMel` with the Fourier transform as a convolution, which every runtime has."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__(config)
        self.register_buffer("filters", analysis_filters(self.window, self.mel.n_fft))

    def _log_mel(self, samples: Tensor) -> Tensor:
        pad = self.mel.pad_samples
        padded = nn.functional.pad(samples[:, None], (pad, pad), mode="reflect")
        spectrum = nn.functional.conv1d(
            padded, self.get_buffer("filters"), stride=self.mel.hop_length
        )
        real, imaginary = spectrum.chunk(2, dim=1)  # (batch, bins, frames)
        power = real.square() + imaginary.square()
        return torch.matmul(self.bank, power).clamp(min=self.mel.floor).log()


class ClassifierGraph(nn.Module):
    """Windows to probabilities."""

    def __init__(self, model: SoundModel) -> None:
        super().__init__()
        self.features, self.network = FramedLogMel(model.config), model.network

    def forward(self, samples: Tensor) -> Tensor:
        """samples: (batch, window samples); returns (batch, classes), each row summing to 1."""
        return torch.softmax(self.network(self.features(samples)), dim=-1)


def export_classifier(
    folder: str | Path,
    out: str | Path,
    formats: str | Sequence[str] = "all",
    *,
    tell: Watcher | None = None,
) -> Report:
    """Write a classifier in the formats asked for, each verified, with `labels.json`.

    folder:  of a classifier, or of a training run or checkpoint of one
    formats: of `folder.FORMATS`, or "all"
    tell:    is told of each file that is done
    raises:  UsageError for an unknown format, a folder that cannot be written to or a missing
             library; ModelError for a damaged classifier or a file that does not agree
    """
    chosen = choose_formats(formats)
    loaded = load_classifier(folder)
    out = open_folder(out)
    metadata = describe(loaded)
    text = json.dumps(metadata, indent=1, ensure_ascii=False) + "\n"
    write_file(out / LABELS_FILE, lambda draft: draft.write_text(text, encoding="utf-8"))
    return export_stages([classifier_stage(loaded)], out, chosen, metadata, tell)


def describe(loaded: LoadedClassifier) -> dict[str, Any]:
    """What whoever runs the graph has to know; plain values."""
    config = loaded.config
    return {
        "model": "classifier",
        "architecture": config.architecture,
        "weights": loaded.content_hash,
        "labels": list(config.labels),
        "sample_rate": config.sample_rate,
        "window_samples": config.window_samples,
        "mel": asdict(config.mel),
    }


def classifier_stage(loaded: LoadedClassifier) -> Stage:
    """The one stage, compared with `SoundModel` on the features Kouji itself computes."""
    config = loaded.config

    def model(samples: Tensor) -> Tensors:
        return (torch.softmax(loaded.model(samples), dim=-1),)

    def make_inputs(sizes: Sizes) -> Tensors:
        return (_sounds(sizes["batch"], config.window_samples, config.sample_rate),)

    return Stage(
        STAGE,
        ClassifierGraph(loaded.model).eval(),
        model,
        (Port("samples", ("batch", config.window_samples), meaning="mono sound in [-1, 1]"),),
        (Port("probabilities", ("batch", len(config.labels)), meaning="of the labels"),),
        make_inputs,
        {"batch": 2},
        tuple({"batch": batch} for batch in _TRIED_BATCHES),
        TOLERANCE,
    )


def _sounds(batch: int, num_samples: int, sample_rate: int) -> Tensor:
    """Windows of a tone in noise, louder by the row; the last half of each is silent."""
    generator = torch.Generator().manual_seed(batch)
    clock = torch.arange(num_samples) / sample_rate
    tones = torch.stack([torch.sin(2 * torch.pi * 220 * (row + 1) * clock) for row in range(batch)])
    sounds = 0.3 * tones + 0.1 * torch.randn(batch, num_samples, generator=generator)
    sounds[:, num_samples // 2 :] = 0.0
    return sounds * torch.linspace(0.1, 1.0, batch)[:, None]
