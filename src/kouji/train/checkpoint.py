"""Checkpoints of a run: written whole or not at all, checked by hash, the last few and the best.

A checkpoint is a directory `step-00001200` with `model.safetensors` (float32 masters),
`ema.safetensors` (when averaging), `optimizer.pt` (opened with weights_only) and `state.json`
(everything else, with the hashes of the other files). It is built under another name, flushed to
disk and renamed. `best.json` beside them names the best one, which is never pruned.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kouji.errors import ModelError, TrainingError

FORMAT = 1
_FILES = ("model.safetensors", "ema.safetensors", "optimizer.pt")


@dataclass(frozen=True)
class Snapshot:
    """All that a run needs to go on; `state` is plain JSON."""

    model: Mapping[str, Tensor]
    ema: Mapping[str, Tensor] | None
    optimizer: dict[str, Any]
    state: dict[str, Any]

    def pieces(self) -> Iterator[tuple[str, Any]]:
        """What `CheckpointStore.write` takes."""
        yield "model", self.model
        yield "ema", self.ema
        yield "optimizer", self.optimizer


class CheckpointStore:
    """The checkpoints of one run under `folder`."""

    def __init__(self, folder: Path, keep_last: int) -> None:
        self.folder, self.keep_last = folder, keep_last

    def path(self, step: int) -> Path:
        """Where the checkpoint of `step` lies or will lie."""
        return self.folder / f"step-{step:08d}"

    def save(self, snapshot: Snapshot, step: int) -> Path:
        """Write the checkpoint of `step` and prune old ones; returns its directory."""
        return self.write(snapshot.pieces(), snapshot.state, step)

    def write(self, pieces: Iterable[tuple[str, Any]], state: Mapping[str, Any], step: int) -> Path:
        """As `save`, from pieces that come one after another, so only one has to be whole.

        pieces: ("model" or "ema", tensors by name or None), ("optimizer", state to pickle)
        raises: TrainingError when it cannot be written; older checkpoints are then untouched
        """
        final = self.path(step)
        work = self.folder / f".{final.name}.{os.getpid()}"
        shutil.rmtree(work, ignore_errors=True)
        try:
            self._write(pieces, state, step, work)
            shutil.rmtree(final, ignore_errors=True)
            work.rename(final)
            _flush(self.folder)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch.save: RuntimeError
            shutil.rmtree(work, ignore_errors=True)
            raise TrainingError(
                "a checkpoint cannot be written",
                seen=f"{final}: {' '.join(str(error).split())}",
                cure="make room or write access there and start again: the run goes on from "
                "the checkpoint before",
            ) from error
        self._prune()
        return final

    def _write(
        self, pieces: Iterable[tuple[str, Any]], state: Mapping[str, Any], step: int, work: Path
    ) -> None:
        """All files of a checkpoint, flushed to disk."""
        work.mkdir(parents=True)
        for name, content in pieces:
            if name == "optimizer":
                torch.save(content, work / _FILES[2])
            elif content is not None:
                save_file(_storable(content), work / f"{name}.safetensors")
            del content  # before the next one is gathered
        hashes = {name: _hash(work / name) for name in _FILES if (work / name).exists()}
        full = {"format": FORMAT, "step": step, **state, "files": hashes}
        (work / "state.json").write_text(json.dumps(full, indent=1))
        for path in [*work.iterdir(), work]:
            _flush(path)

    def steps(self) -> list[Path]:
        """Finished checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*"))

    def mark_best(self, step: int, value: float) -> None:
        """Remember `step` (already saved) as the best so far."""
        work = self.folder / ".best.json"
        work.write_text(json.dumps({"step": step, "value": value}))
        _flush(work)
        work.rename(self.folder / "best.json")

    def best(self) -> Path | None:
        """The best checkpoint, if one was marked and still exists."""
        try:
            step = json.loads((self.folder / "best.json").read_text())["step"]
        except (OSError, ValueError, KeyError):
            return None
        path = self.path(step)
        return path if path.exists() else None

    def load_last(self) -> tuple[Snapshot, Path, list[str]] | None:
        """The newest checkpoint that is whole, its path, and what was wrong with newer ones."""
        faults: list[str] = []
        for path in reversed(self.steps()):
            try:
                return load_checkpoint(path), path, faults
            except ModelError as error:
                faults.append(f"checkpoint {path.name} is skipped: {error}")
        if faults:
            raise TrainingError(
                "no checkpoint of this run can be read",
                seen="; ".join(faults),
                cure="remove the folder to begin anew",
            )
        return None

    def _prune(self) -> None:
        """Drop old checkpoints, and what processes that were killed while writing left."""
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path, ignore_errors=True)
        best = self.best()
        for path in self.steps()[: -self.keep_last]:
            if path != best:
                shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(path: Path) -> Snapshot:
    """Read a checkpoint directory onto the CPU; ModelError if damaged or of another format."""
    try:
        state = json.loads((path / "state.json").read_text())
        if state["format"] != FORMAT:
            raise ModelError("unknown checkpoint format", seen=state["format"], allowed=str(FORMAT))
        for name, expected in state["files"].items():
            if _hash(path / name) != expected:
                raise ModelError("checkpoint is damaged", seen=f"{path.name}/{name}")
        has_ema = _FILES[1] in state["files"]
        return Snapshot(
            load_file(path / _FILES[0]),
            load_file(path / _FILES[1]) if has_ema else None,
            torch.load(path / _FILES[2], map_location="cpu", weights_only=True),
            state,
        )
    except pickle.UnpicklingError as error:
        raise ModelError("checkpoint cannot be read safely", seen=f"{path.name}: pickle") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError("checkpoint cannot be read", seen=f"{path.name}: {error}") from error


def export_weights(checkpoint: str | Path, ema: bool = True) -> dict[str, Tensor]:
    """The weights of a checkpoint directory (or a .safetensors file) by name, float32 on the CPU.

    ema: take the averaged weights where the run kept them.
    """
    path = Path(checkpoint)
    if path.is_dir():
        averaged = path / _FILES[1]
        path = averaged if ema and averaged.exists() else path / _FILES[0]
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError("weights cannot be read", seen=f"{path}: {error}") from error


def check_compatible(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Raise TrainingError unless names and shapes of `weights` are exactly the model's."""
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    other = {name: tuple(value.shape) for name, value in weights.items()}
    if own == other:
        return
    faults = [f"missing {name}" for name in own if name not in other]
    faults += [f"unexpected {name}" for name in other if name not in own]
    faults += [
        f"{name} has shape {other[name]} instead of {shape}"
        for name, shape in own.items()
        if name in other and other[name] != shape
    ]
    shown = ", ".join(faults[:5]) + (f" and {len(faults) - 5} more" if len(faults) > 5 else "")
    raise TrainingError(
        f"{source} does not fit this model",
        seen=shown,
        cure="use another out folder, or init_from to take over what fits",
    )


def start_from(model: nn.Module, source: str) -> str:
    """Take over weights of `source` whose name and shape fit; returns a line saying how many."""
    found = export_weights(source)
    own = model.state_dict()
    fitting = {
        name: value
        for name, value in found.items()
        if name in own and own[name].shape == value.shape
    }
    if not fitting:
        raise TrainingError("nothing in init_from fits this model", seen=source)
    model.load_state_dict(fitting, strict=False)
    return f"started from {source}: {len(fitting)} of {len(own)} tensors fit"


def _storable(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Own, contiguous CPU tensors: safetensors refuses shared memory (tied weights)."""
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in state.items():
        own = value.detach().cpu().contiguous()
        storage = own.untyped_storage()
        is_own = storage.nbytes() == own.numel() * own.element_size()
        stored[name] = own if is_own and storage.data_ptr() not in seen else own.clone()
        seen.add(storage.data_ptr())
    return stored


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
