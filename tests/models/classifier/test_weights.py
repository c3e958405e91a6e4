"""Classifiers on disk: the same again, and a named error for everything else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kouji.errors import ModelError
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.model import SoundModel
from kouji.models.classifier.weights import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    load_classifier,
    save_classifier,
)

CONFIG = ClassifierConfig(
    labels=("dog", "rain"), architecture="convnext", width=8, num_mels=16, window_seconds=0.5
)


@pytest.fixture
def model() -> SoundModel:
    torch.manual_seed(0)
    return SoundModel(CONFIG).eval()


@pytest.fixture
def folder(tmp_path: Path, model: SoundModel) -> Path:
    return save_classifier(tmp_path / "saved", model, {"data": "made up"})


def rewrite(folder: Path, **changes: Any) -> None:
    document = json.loads((folder / CONFIG_FILE).read_text())
    document["config"] |= changes.pop("config", {})
    (folder / CONFIG_FILE).write_text(json.dumps(document | changes))


def test_comes_back_as_it_was(folder: Path, model: SoundModel) -> None:
    loaded = load_classifier(folder)
    assert loaded.config == CONFIG
    assert loaded.metadata == {"data": "made up"}
    assert not loaded.model.training
    sound = 0.1 * torch.randn(2, CONFIG.window_samples)
    assert torch.allclose(loaded.model(sound), model(sound), atol=2e-3)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


def test_hash_follows_the_content(folder: Path, tmp_path: Path, model: SoundModel) -> None:
    first = load_classifier(folder).content_hash
    assert load_classifier(save_classifier(tmp_path / "again", model)).content_hash == first
    rewrite(folder, config={"labels": ["rain", "dog"]})
    assert load_classifier(folder).content_hash != first


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no classifier.*nowhere"):
        load_classifier(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "mini"}, "unknown format"),
        ({"config": {"colour": "red"}}, "colour"),
        ({"config": {"num_mels": "many"}}, "cannot be read"),
        ({"config": {"labels": ["dog", "rain", "sea"]}}, "do not fit.*head"),
        ({"config": {"architecture": "resnet18"}}, "do not fit"),
    ],
)
def test_a_foreign_config_is_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    rewrite(folder, **changes)
    with pytest.raises(ModelError, match=message):
        load_classifier(folder)


@pytest.mark.parametrize("content", ["", "not json", "[1, 2]"])
def test_a_damaged_config_is_named(folder: Path, content: str) -> None:
    (folder / CONFIG_FILE).write_text(content)
    with pytest.raises(ModelError, match=CONFIG_FILE):
        load_classifier(folder)


def test_damaged_weights_are_named(folder: Path) -> None:
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        load_classifier(folder)
    file.unlink()
    with pytest.raises(ModelError, match="weights of a classifier cannot be read"):
        load_classifier(folder)


def test_weights_that_are_not_finite_are_named(folder: Path, model: SoundModel) -> None:
    tensors = load_file(folder / WEIGHTS_FILE)
    tensors["network.head.bias"][0] = torch.nan
    save_file(tensors, folder / WEIGHTS_FILE)
    with pytest.raises(ModelError, match=r"not finite.*head\.bias"):
        load_classifier(folder)
    with torch.no_grad():
        model.network.head.bias[0] = 1e6
    with pytest.raises(ModelError, match="float16"):
        save_classifier(folder, model)


@pytest.fixture
def run_folder(tmp_path: Path, model: SoundModel) -> Path:
    """A run with one checkpoint, written as the training loop writes it."""
    place = tmp_path / "run" / "checkpoints" / "step-00000007"
    place.mkdir(parents=True)
    save_file(model.state_dict(), place / "model.safetensors")
    digest = hashlib.sha256((place / "model.safetensors").read_bytes()).hexdigest()
    state = {
        "recipe": "classifier",
        "step": 7,
        "config": {"data": {"folder": "sounds"}, "classifier": CONFIG.to_dict()},
        "files": {"model.safetensors": digest},
    }
    (place / "state.json").write_text(json.dumps(state))
    return tmp_path / "run"


def test_a_run_can_be_loaded(run_folder: Path, model: SoundModel) -> None:
    checkpoint = run_folder / "checkpoints" / "step-00000007"
    for folder in (run_folder, checkpoint):
        loaded = load_classifier(folder)
        assert loaded.metadata["step"] == 7
        sound = 0.1 * torch.randn(1, CONFIG.window_samples)
        assert torch.equal(loaded.model(sound), model(sound))


def test_a_damaged_or_foreign_checkpoint_is_named(run_folder: Path) -> None:
    place = run_folder / "checkpoints" / "step-00000007"
    state = json.loads((place / "state.json").read_text())
    (place / "state.json").write_text(json.dumps(state | {"files": {"model.safetensors": "0"}}))
    with pytest.raises(ModelError, match="damaged"):
        load_classifier(run_folder)
    (place / "state.json").write_text(json.dumps(state | {"recipe": "mini-acoustic"}))
    with pytest.raises(ModelError, match="mini-acoustic"):
        load_classifier(run_folder)
