"""`kouji export-recogniser`: the newest weights of a run come back where evaluate loads them."""

from __future__ import annotations

from pathlib import Path

import torch

from kouji.cli import run
from kouji.models.recogniser import Recogniser, RecogniserConfig, load_recogniser
from kouji.train.checkpoint import CheckpointStore, Snapshot


def test_the_newest_weights_are_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    store = CheckpointStore(tmp_path / "run" / "checkpoints", keep_last=3)
    networks = [Recogniser(RecogniserConfig()) for _ in range(2)]
    for step, network in enumerate(networks, start=1):
        store.save(Snapshot(network.state_dict(), None, {}, {}), step)
    out = tmp_path / "out"
    assert run(["export-recogniser", str(tmp_path / "run"), "--out", str(out)]) == 0
    loaded = load_recogniser(out).state_dict()
    for name, value in networks[1].state_dict().items():
        torch.testing.assert_close(loaded[name], value.half().float())


def test_a_run_without_checkpoints_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert run(["export-recogniser", str(tmp_path / "run"), "--out", str(tmp_path / "o")]) == 1
    assert run(["export-recogniser", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2
