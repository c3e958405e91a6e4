"""What tests of the networks around GPT-SoVITS share: seeded weights, directories, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


class Hostile:
    """Writes a file when a careless reader unpickles it."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def seeded_weights(manifest: Path) -> dict[str, Tensor]:
    """The tensors a manifest of the goldens describes (rule in their README)."""
    return {entry["key"]: seeded_tensor(entry) for entry in json.loads(manifest.read_text())}


def seeded_tensor(entry: dict[str, Any]) -> Tensor:
    """One tensor: uniform numbers of a seed, scaled and moved; or a constant."""
    shape = entry["shape"]
    if "const" in entry:
        dtype = getattr(torch, entry["dtype"].removeprefix("torch."))
        return torch.full(shape, entry["const"], dtype=dtype)
    draws = np.random.RandomState(entry["seed"]).random_sample(int(np.prod(shape)))
    values = entry["offset"] + entry["amplitude"] * (2 * draws - 1)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def uniform(seed: int, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """The goldens' `det`."""
    draws = np.random.RandomState(seed).random_sample(shape)
    return torch.from_numpy((low + (high - low) * draws).astype(np.float32))


def write_hubert(folder: Path, goldens: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """The goldens' HuBERT as the official directory has it; `tensors` as pytorch_model.bin."""
    folder.mkdir(exist_ok=True)
    config = (goldens / "hubert_tiny_config.json").read_text()
    (folder / "config.json").write_text(config)
    tensors = load_file(goldens / "hubert_tiny.safetensors") if tensors is None else tensors
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def write_bert(folder: Path, goldens: Path) -> Path:
    """The goldens' BERT as a directory with vocab.txt and model.safetensors."""
    folder.mkdir(exist_ok=True)
    facts = json.loads((goldens / "bert_tiny.json").read_text())
    config = {"vocab_size": len(facts["vocab"]), **facts["config"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(facts["vocab"]) + "\n", encoding="utf-8")
    save_file(load_file(goldens / "bert_tiny.safetensors"), folder / "model.safetensors")
    return folder
