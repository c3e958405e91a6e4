"""Checkpoints of `mini`: what is written comes back, what does not fit is named."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_mini import TINY, make_tiny_checkpoint

from kouji.errors import ConfigError, ModelError
from kouji.models.mini.config import MiniConfig
from kouji.models.mini.weights import CONFIG_FILE, WEIGHTS_FILE, load_checkpoint, save_checkpoint


def _save(folder: Path) -> None:
    made = make_tiny_checkpoint()
    save_checkpoint(folder, TINY, made.acoustic.state_dict(), made.vocoder.state_dict(), pace=1.25)


def test_round_trip_keeps_weights_to_half_precision(tmp_path: Path) -> None:
    _save(tmp_path)
    loaded, made = load_checkpoint(tmp_path), make_tiny_checkpoint()
    assert loaded.pace == 1.25
    assert not loaded.acoustic.training
    assert loaded.acoustic.config == TINY
    for name, value in made.acoustic.state_dict().items():
        torch.testing.assert_close(loaded.acoustic.state_dict()[name], value.half().float())
    assert load_checkpoint(tmp_path).weights_hash == loaded.weights_hash
    assert (tmp_path / WEIGHTS_FILE).stat().st_mode & 0o444 == 0o444


def test_a_missing_or_damaged_checkpoint_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path)
    _save(tmp_path)
    weights = tmp_path / WEIGHTS_FILE
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_weights_of_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    _save(tmp_path)
    document = json.loads((tmp_path / CONFIG_FILE).read_text())
    document["config"]["decoder_dilations"] = [1]
    (tmp_path / CONFIG_FILE).write_text(json.dumps(document))
    with pytest.raises(ModelError, match=r"decoder\.blocks"):
        load_checkpoint(tmp_path)
    document["format"] = "kouji-mini-99"
    (tmp_path / CONFIG_FILE).write_text(json.dumps(document))
    with pytest.raises(ModelError, match="format"):
        load_checkpoint(tmp_path)


def test_config_refuses_unknown_keys() -> None:
    with pytest.raises(ConfigError, match="depth"):
        MiniConfig.from_dict({"depth": 3})
    assert MiniConfig.from_dict(json.loads(json.dumps(TINY.to_dict()))) == TINY


def test_loading_draws_no_values_and_compiles_nothing(tmp_path: Path) -> None:
    _save(tmp_path)
    code = (
        "import sys, torch; from kouji.models.mini.weights import load_checkpoint\n"
        "before = torch.random.get_rng_state()\n"
        f"load_checkpoint({str(tmp_path)!r})\n"
        "assert torch.equal(before, torch.random.get_rng_state())\n"
        "print('torch._dynamo' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"  # a second of every cold start
