"""From training runs of `mini` to one checkpoint that `kouji say` loads.

Takes averaged weights where a run kept them, drops what only training needs, and measures
the pace: predicted durations are means of logarithms and so a little short. Either half may
come from a checkpoint that was exported before, when only the other was trained anew.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.mini.config import MiniConfig
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.plan import reading_noise
from kouji.models.mini.prosody import word_edges
from kouji.models.mini.weights import CONFIG_FILE, load_checkpoint, save_checkpoint
from kouji.train.checkpoint import export_weights
from kouji.train.mini_acoustic import MiniAcoustic
from kouji.train.mini_data import pad_rows
from kouji.train.mini_examples import Example
from kouji.train.mini_vocoder_sharpen import CRITICS

_PREFIX = "acoustic."  # of the network inside its trainer
_PACE_CLIPS = 200


@dataclass(frozen=True)
class Half:
    """One of the two networks: where it comes from, its shapes, weights and record."""

    source: Path
    config: MiniConfig
    weights: dict[str, Tensor]
    summary: Any


def export_mini(
    acoustic: str | Path, vocoder: str | Path, out: str | Path, *, store: str | Path
) -> dict[str, Any]:
    """Write a checkpoint of `mini` to `out`; returns what was recorded in it.

    acoustic, vocoder: folders of runs, single checkpoints of them, or exported checkpoints
    store:             the prepared store the acoustic model was trained on, for the pace
    raises:            ModelError if the vocoder does not have the shapes of the acoustic run
    """
    first, second = read_half(acoustic, "acoustic"), read_half(vocoder, "vocoder")
    if _vocoder_shapes(first.config) != _vocoder_shapes(second.config):
        raise ModelError(
            "acoustic model and vocoder were trained with different shapes",
            seen=f"{first.source} and {second.source}",
            cure="train both with the same model: block",
        )
    network = AcousticModel(first.config)
    network.load_state_dict(first.weights)
    metadata = {
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "acoustic": first.summary,
        "vocoder": second.summary,
    }
    pace = measure_pace(network.eval(), store)
    save_checkpoint(out, first.config, first.weights, second.weights, pace=pace, metadata=metadata)
    return {"pace": pace, **metadata}


def read_half(source: str | Path, name: str) -> Half:
    """Read one network of an exported checkpoint or of a run.

    name: "acoustic" or "vocoder"
    """
    source = Path(source)
    if (source / CONFIG_FILE).is_file():
        made = load_checkpoint(source)
        document = json.loads((source / CONFIG_FILE).read_text(encoding="utf-8"))
        network = made.acoustic if name == "acoustic" else made.vocoder
        summary = document["metadata"].get(name)
        return Half(source, made.acoustic.config, network.state_dict(), summary)
    path = newest(source)
    state = _state(path)
    weights = export_weights(path)
    if name == "acoustic":
        weights = {
            key.removeprefix(_PREFIX): value
            for key, value in weights.items()
            if key.startswith(_PREFIX)
        }
    else:
        weights = {key: value for key, value in weights.items() if not key.startswith(CRITICS)}
    return Half(path, MiniConfig.from_dict(state["config"]), weights, _summary(state))


def _vocoder_shapes(config: MiniConfig) -> dict[str, Any]:
    names = ("pitch_width", "pitch_dilations", "harmonic_bands", "noise_bands")
    shapes = config.to_dict()
    return {key: shapes[key] for key in shapes if key in names or key.startswith("vocoder_")}


def newest(run: str | Path) -> Path:
    """The last checkpoint of a run's folder; a checkpoint itself is returned as it is."""
    run = Path(run)
    found: Sequence[Path] = sorted((run / "checkpoints").glob("step-*"))
    if found:
        return found[-1]
    if (run / "state.json").is_file():
        return run
    raise ModelError(
        "no checkpoint here", seen=run, allowed="the folder of a run or of a checkpoint"
    )


@torch.inference_mode()
def measure_pace(model: AcousticModel, store: str | Path) -> float:
    """Measured over predicted seconds of sounding phones, on training clips."""
    data = MiniAcoustic({"store": str(store)}, model.config.to_dict(), 0).dataset("train")
    chosen = np.random.default_rng(0).permutation(len(data))[:_PACE_CLIPS]
    real = predicted = 0.0
    for index in chosen:
        example = data[int(index)]
        reference = torch.from_numpy(example.reference)[None]
        speaker = model.speaker_encoder(reference, torch.ones_like(reference[..., :1]))
        symbols, tones = (pad_rows([row], torch.int64) for row in (example.symbols, example.tones))
        mask = torch.ones(1, symbols.shape[1], 1)
        said = _frames_said(model, example, symbols, tones, mask, speaker)
        sounding = example.prosody[:, 2] > example.prosody[:, 2].min()  # edges are quietest
        real += float(example.durations[sounding].sum())
        predicted += float(said.clamp(min=0)[torch.from_numpy(sounding)].sum())
    return round(real / max(predicted, 1.0), 4)


def _frames_said(
    model: AcousticModel,
    example: Example,
    symbols: Tensor,
    tones: Tensor,
    mask: Tensor,
    speaker: Tensor,
) -> Tensor:
    """Frames of each phone as the model would say them: (phones,)."""
    if model.config.prosody_width:
        edges = pad_rows([word_edges(example.symbols, example.words)], torch.int64)
        noise = reading_noise(model.config, example.symbols, 0)[None]
        said = model.draw_prosody(symbols, tones, edges, mask, speaker, noise)
    else:
        encoded = model.encode(symbols, tones, mask, speaker)
        said = model.predict_prosody(encoded, mask, speaker)
    return said.log_duration[0].expm1()


def _state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return state


def _summary(state: dict[str, Any]) -> dict[str, Any]:
    kept = ("recipe", "step", "best", "trained_seconds", "torch", "settings")
    return {name: state.get(name) for name in kept}
