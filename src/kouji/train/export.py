"""From training runs of `mini` to one checkpoint that `kouji say` loads.

Takes averaged weights where a run kept them, drops what only training needs, and measures
the pace: predicted durations are means of logarithms and so a little short.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.mini.config import MiniConfig
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.weights import save_checkpoint
from kouji.train.checkpoint import export_weights
from kouji.train.mini_acoustic import MiniAcoustic
from kouji.train.mini_data import pad_rows

_PREFIX = "acoustic."  # of the network inside its trainer
_PACE_CLIPS = 200


def export_mini(
    acoustic: str | Path, vocoder: str | Path, out: str | Path, *, store: str | Path
) -> dict[str, Any]:
    """Write a checkpoint of `mini` to `out`; returns what was recorded in it.

    acoustic, vocoder: folders of runs, or single checkpoints of them
    store:             the prepared store the acoustic model was trained on, for the pace
    raises:            ModelError if the two were trained with different shapes
    """
    acoustic_path, vocoder_path = newest(acoustic), newest(vocoder)
    states = [_state(acoustic_path), _state(vocoder_path)]
    if states[0]["config"] != states[1]["config"]:
        raise ModelError(
            "acoustic model and vocoder were trained with different shapes",
            seen=f"{acoustic_path} and {vocoder_path}",
            cure="train both with the same model: block",
        )
    config = MiniConfig.from_dict(states[0]["config"])
    weights = {
        name.removeprefix(_PREFIX): value
        for name, value in export_weights(acoustic_path).items()
        if name.startswith(_PREFIX)
    }
    network = AcousticModel(config)
    network.load_state_dict(weights)
    metadata = {
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "acoustic": _summary(states[0]),
        "vocoder": _summary(states[1]),
    }
    pace = measure_pace(network.eval(), store)
    save_checkpoint(
        out, config, weights, export_weights(vocoder_path), pace=pace, metadata=metadata
    )
    return {"pace": pace, **metadata}


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
        encoded = model.encode(symbols, tones, mask, speaker)
        said: Tensor = model.predict_prosody(encoded, mask, speaker).log_duration[0].expm1()
        sounding = example.prosody[:, 2] > example.prosody[:, 2].min()  # edges are quietest
        real += float(example.durations[sounding].sum())
        predicted += float(said.clamp(min=0)[torch.from_numpy(sounding)].sum())
    return round(real / max(predicted, 1.0), 4)


def _state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return state


def _summary(state: dict[str, Any]) -> dict[str, Any]:
    kept = ("recipe", "step", "best", "trained_seconds", "torch", "settings")
    return {name: state.get(name) for name in kept}
