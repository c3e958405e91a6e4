"""Reads and writes a `mini` checkpoint: one safetensors file beside one JSON config.

Parameters are stored in float16 under `acoustic.` and `vocoder.`; the config also carries
the calibrated pace and which file the hash of conditionings refers to.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kouji.errors import ModelError
from kouji.models.mini.config import MiniConfig
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.vocoder import Vocoder
from kouji.models.unfilled import without_initial_values

SHIPPED = Path(__file__).parent / "weights"
WEIGHTS_FILE, CONFIG_FILE = "mini.safetensors", "mini.json"
FORMAT = "kouji-mini-2"


@dataclass(frozen=True)
class Checkpoint:
    """Networks in float32 on the CPU, in evaluation mode, and what travels with them."""

    acoustic: AcousticModel
    vocoder: Vocoder
    pace: float
    weights_hash: str


def load_checkpoint(folder: str | Path = SHIPPED) -> Checkpoint:
    """Load a checkpoint; ModelError names what is missing or does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = Path(folder)
    try:
        document = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        blob = (folder / WEIGHTS_FILE).read_bytes()
        tensors = load(blob)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            "a mini checkpoint cannot be read",
            seen=f"{folder}: {error}",
            allowed=f"a folder with {WEIGHTS_FILE} and {CONFIG_FILE}",
            cure="reinstall kouji, or give the folder of your own training",
        ) from error
    if document.get("format") != FORMAT:
        raise ModelError("unknown mini format", seen=document.get("format"), allowed=FORMAT)
    config = MiniConfig.from_dict(document["config"])
    acoustic, vocoder = _empty(config)
    _fill(acoustic, tensors, "acoustic.")
    _fill(vocoder, tensors, "vocoder.")
    digest = hashlib.sha256(blob).hexdigest()[:16]
    return Checkpoint(acoustic.eval(), vocoder.eval(), float(document.get("pace", 1.0)), digest)


def _empty(config: MiniConfig) -> tuple[AcousticModel, Vocoder]:
    """Networks without memory or initial values: the checkpoint brings both."""
    with torch.device("meta"), without_initial_values():
        return AcousticModel(config), Vocoder(config)


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    own = {
        name.removeprefix(prefix): tensor.float()
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    wanted = {name: value.shape for name, value in network.state_dict().items()}
    missing, unknown = sorted(wanted.keys() - own), sorted(own.keys() - wanted.keys())
    shapes = [name for name in wanted.keys() & own if wanted[name] != own[name].shape]
    if missing or unknown or shapes:
        raise ModelError(
            f"{prefix}* of the mini checkpoint does not fit its config",
            seen=f"missing {missing[:4]}, unknown {unknown[:4]}, other shapes {sorted(shapes)[:4]}",
            allowed="exactly the parameters the config describes",
        )
    network.load_state_dict(own, assign=True)


def save_checkpoint(
    folder: str | Path,
    config: MiniConfig,
    acoustic: Mapping[str, Tensor],
    vocoder: Mapping[str, Tensor],
    *,
    pace: float = 1.0,
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """Write a checkpoint in float16; returns the weights file.

    acoustic, vocoder: state dicts of `AcousticModel` and `Vocoder`
    metadata:          plain values for the record (recipe, data, date), kept in the JSON
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"acoustic.{name}": value.half().contiguous() for name, value in acoustic.items()}
    tensors |= {f"vocoder.{name}": value.half().contiguous() for name, value in vocoder.items()}
    target = folder / WEIGHTS_FILE
    temporary = target.with_suffix(".tmp")
    save_file(tensors, str(temporary))
    temporary.chmod(0o644)  # safetensors lets nobody else read its files
    temporary.replace(target)
    document = {
        "format": FORMAT,
        "config": config.to_dict(),
        "pace": pace,
        "metadata": dict(metadata or {}),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    return target
