"""Reads and writes classifiers: one safetensors file beside one JSON config.

Weights are float16 on disk and float32 in memory. Reads the folders of training runs and their
checkpoints too, so that a run can be tried before anything is exported; writes only its own form.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kouji.errors import ConfigError, ModelError
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.model import SoundModel

SHIPPED = Path(__file__).parent / "weights"  # ESC-10
PHONES = SHIPPED / "phones"  # what classifiers of words start from
CONFIG_FILE, WEIGHTS_FILE = "classifier.json", "classifier.safetensors"
FORMAT = "kouji-classifier-1"
_RECIPES = ("classifier", "phones")  # of training, whose checkpoints hold one
_CHECKPOINT_STATE = "state.json"
_CHECKPOINT_WEIGHTS = ("ema.safetensors", "model.safetensors")  # averaged ones where kept


@dataclass(frozen=True)
class LoadedClassifier:
    """A network in float32 on the CPU, in evaluation mode, and what travels with it.

    metadata:     plain values for the record: data, recipe, figures
    content_hash: 16 hex digits over config and weights
    """

    model: SoundModel
    config: ClassifierConfig
    metadata: dict[str, Any]
    content_hash: str


def load_classifier(folder: str | Path = SHIPPED) -> LoadedClassifier:
    """Load a classifier's folder, a checkpoint of a run, or a run (its newest checkpoint).

    raises: ModelError names what is missing, damaged or does not fit
    """
    folder = Path(folder)
    if (folder / CONFIG_FILE).is_file():
        return _load_own(folder)
    if (folder / _CHECKPOINT_STATE).is_file():
        return _load_checkpoint(folder)
    newest = sorted((folder / "checkpoints").glob("step-*"))
    if newest:
        return _load_checkpoint(newest[-1])
    raise ModelError(
        "there is no classifier",
        seen=folder,
        allowed=f"a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, or one of a training run",
    )


def _load_own(folder: Path) -> LoadedClassifier:
    document = _read_json(folder / CONFIG_FILE)
    if document.get("format") != FORMAT:
        raise ModelError(
            "unknown format of a classifier",
            seen=f"{folder / CONFIG_FILE}: {document.get('format')!r}",
            allowed=FORMAT,
        )
    blob = _read_bytes(folder / WEIGHTS_FILE)
    return _assemble(document.get("config"), document.get("metadata") or {}, blob, folder)


def _load_checkpoint(folder: Path) -> LoadedClassifier:
    """A checkpoint as training writes it: `state.json` names recipe, config and hashes."""
    state = _read_json(folder / _CHECKPOINT_STATE)
    if state.get("recipe") not in _RECIPES or "classifier" not in (state.get("config") or {}):
        raise ModelError(
            "a checkpoint of something else", seen=f"{folder}: {state.get('recipe')!r}",
            allowed=f"of the recipe {' or '.join(_RECIPES)}",
        )  # fmt: skip
    hashes = state.get("files") or {}
    file = next((name for name in _CHECKPOINT_WEIGHTS if name in hashes), _CHECKPOINT_WEIGHTS[-1])
    blob = _read_bytes(folder / file)
    if hashlib.sha256(blob).hexdigest() != hashes.get(file):
        raise ModelError("checkpoint is damaged", seen=folder / file, cure="take an older one")
    metadata = {"step": state.get("step"), "data": state["config"].get("data") or {}}
    return _assemble(state["config"]["classifier"], metadata, blob, folder)


def _assemble(config: Any, metadata: dict[str, Any], blob: bytes, folder: Path) -> LoadedClassifier:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        shapes = ClassifierConfig.from_dict(config)
        model = SoundModel(shapes)
        tensors = load(blob)
    except (ConfigError, TypeError, AttributeError, ValueError, SafetensorError) as error:
        raise ModelError("a classifier cannot be read", seen=f"{folder}: {error}") from error
    fill(model, tensors, str(folder))
    text = json.dumps(shapes.to_dict(), sort_keys=True)
    digest = hashlib.sha256(text.encode() + blob).hexdigest()[:16]
    return LoadedClassifier(model.eval(), shapes, metadata, digest)


def fill(model: SoundModel, tensors: Mapping[str, Tensor], source: str) -> None:
    """Put tensors of exactly the model's names and shapes in place; else ModelError."""
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    missing, unknown = sorted(wanted.keys() - tensors), sorted(tensors.keys() - wanted)
    shapes = sorted(name for name in wanted.keys() & tensors if wanted[name] != tensors[name].shape)
    if missing or unknown or shapes:
        raise ModelError(
            "weights of a classifier do not fit its config",
            seen=f"{source}: missing {missing[:4]}, unknown {unknown[:4]}, "
            f"other shapes {shapes[:4]}",
            allowed="exactly the parameters the config describes",
        )
    broken = sorted(name for name, value in tensors.items() if not value.isfinite().all())
    if broken:
        raise ModelError("weights of a classifier are not finite", seen=f"{source}: {broken[:4]}")
    model.load_state_dict({name: value.float() for name, value in tensors.items()})


def save_classifier(
    folder: str | Path, model: SoundModel, metadata: Mapping[str, Any] | None = None
) -> Path:
    """Write a classifier in float16; returns the folder. ModelError where float16 cannot hold it.

    metadata: plain values for the record (data, recipe, figures), kept in the JSON
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().cpu().half().contiguous() for name, value in model.state_dict().items()
    }
    broken = sorted(name for name, value in tensors.items() if not value.isfinite().all())
    if broken:
        raise ModelError("weights do not fit float16", seen=broken[:4], cure="train it again")
    temporary = folder / f"{WEIGHTS_FILE}.tmp"
    save_file(tensors, str(temporary))
    temporary.chmod(0o644)  # safetensors lets nobody else read its files
    temporary.replace(folder / WEIGHTS_FILE)
    document = {
        "format": FORMAT,
        "config": model.config.to_dict(),
        "metadata": dict(metadata or {}),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    return folder


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError("a classifier cannot be read", seen=f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ModelError("a classifier cannot be read", seen=path, allowed="a JSON object")
    return document


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            "the weights of a classifier cannot be read",
            seen=f"{path}: {error.strerror or error}",
            cure="copy the whole folder, or train it again",
        ) from error
