"""Checkpoints are whole or absent, and wrong ones are named."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_recipe import ToyRecipe, toy_settings

from kouji.errors import ModelError, TrainingError
from kouji.train import checkpoint
from kouji.train.checkpoint import (
    CheckpointStore,
    Snapshot,
    check_compatible,
    export_weights,
    load_checkpoint,
)
from kouji.train.loop import run


def snapshot(value: float, ema: float | None = None) -> Snapshot:
    averages = None if ema is None else {"w": torch.full((2,), ema)}
    return Snapshot({"w": torch.full((2,), value)}, averages, {"main": {"a": [1]}}, {"best": None})


def test_keeps_the_last_and_the_best(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "c", keep_last=2)
    assert store.load_last() is None
    assert store.best() is None
    for step in range(6):
        store.save(snapshot(step), step)
        if step == 1:
            store.mark_best(1, 0.5)
    assert [p.name for p in store.steps()] == ["step-00000001", "step-00000004", "step-00000005"]
    assert store.best() == tmp_path / "c/step-00000001"
    found = store.load_last()
    assert found is not None
    assert found[0].model["w"].tolist() == [5, 5]
    assert found[0].optimizer == {"main": {"a": [1]}}
    assert found[0].state["step"] == 5
    assert found[2] == []


def test_crash_while_writing_leaves_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path, 3)
    store.save(snapshot(1), 1)

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", fail)
        with pytest.raises(TrainingError, match="no space"):
            store.save(snapshot(2), 2)
    assert [p.name for p in store.steps()] == ["step-00000001"]
    store.save(snapshot(2), 2)
    assert not list(tmp_path.glob(".step*"))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "ema.safetensors"])
def test_every_damaged_file_is_found(tmp_path: Path, name: str) -> None:
    path = CheckpointStore(tmp_path, 3).save(snapshot(1, ema=2), 1)
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)
    with pytest.raises(ModelError, match=f"damaged.*{name}"):
        load_checkpoint(path)
    (path / name).unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 99}'])
def test_wrong_state_is_named(tmp_path: Path, text: str) -> None:
    path = CheckpointStore(tmp_path, 3).save(snapshot(1), 1)
    (path / "state.json").write_text(text)
    with pytest.raises(ModelError, match="checkpoint"):
        load_checkpoint(path)


def test_nothing_but_damaged_checkpoints_stops(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 3)
    (store.save(snapshot(1), 1) / "state.json").unlink()
    with pytest.raises(TrainingError, match="no checkpoint of this run can be read"):
        store.load_last()


def test_export_prefers_averages(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, 3)
    averaged, plain = store.save(snapshot(1, ema=2), 1), store.save(snapshot(1), 2)
    assert export_weights(averaged)["w"].tolist() == [2, 2]
    assert export_weights(averaged, ema=False)["w"].tolist() == [1, 1]
    assert export_weights(plain)["w"].tolist() == [1, 1]
    assert export_weights(plain / "model.safetensors")["w"].tolist() == [1, 1]
    with pytest.raises(ModelError, match="nowhere"):
        export_weights(tmp_path / "nowhere")


def test_optimizer_file_cannot_run_code(tmp_path: Path) -> None:
    path = CheckpointStore(tmp_path, 3).save(snapshot(1), 1)
    torch.save({"main": CheckpointStore}, path / "optimizer.pt")
    state = json.loads((path / "state.json").read_text())
    state["files"]["optimizer.pt"] = checkpoint._hash(path / "optimizer.pt")
    (path / "state.json").write_text(json.dumps(state))
    with pytest.raises(ModelError, match="cannot be read"):
        load_checkpoint(path)


def test_misfits_are_counted_by_name() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))
    state = dict(model.state_dict())
    check_compatible(model, state, "x")
    state["extra"] = state.pop("0.bias")
    with pytest.raises(TrainingError, match=r"x does not fit.*missing 0\.bias, unexpected extra"):
        check_compatible(model, state, "x")


def test_remains_of_a_killed_writer_go_with_the_next_checkpoint(tmp_path: Path) -> None:
    remains = tmp_path / ".step-00000001.4711"
    remains.mkdir()
    (remains / "model.safetensors").write_bytes(bytes(100))
    CheckpointStore(tmp_path, 3).save(snapshot(2), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000002"]


def test_full_disk_and_useless_folders_end_a_run_in_one_line(tmp_path: Path) -> None:
    """A limit on the size of files fails writes as a full disk does."""
    good = run(ToyRecipe(), toy_settings(tmp_path / "full", steps=2))
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, usual[1]))
    try:
        with pytest.raises(TrainingError, match=r"cannot be written .*step-00000004.*goes on from"):
            run(ToyRecipe(), toy_settings(tmp_path / "full", steps=4))
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, usual[1]))
        with pytest.raises(TrainingError, match=r"of the run cannot be used .*room"):
            run(ToyRecipe(), toy_settings(tmp_path / "log", steps=4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert list((tmp_path / "full/checkpoints").iterdir()) == [good.checkpoint]
    assert run(ToyRecipe(), toy_settings(tmp_path / "full", steps=4)).step == 4
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"of the run cannot be used .*file"):
        run(ToyRecipe(), toy_settings(tmp_path / "file/run"))
