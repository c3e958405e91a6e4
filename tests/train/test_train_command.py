"""`kouji train --devices N` and torchrun are two ways to the same run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_store import write_made_store
from tiny_mini import TINY
from toy_recipe import logged

from kouji.cli import run as run_command
from kouji.cli import teach
from kouji.train import loop
from kouji.train.align import align_store
from kouji.train.settings import RunSettings

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of the registry on made-up clips."""
    folder = tmp_path_factory.mktemp("command")
    write_made_store(folder / "store", num_clips=24)
    align_store(folder / "store")
    document = {
        "recipe": "mini-acoustic",
        "data": {"store": str(folder / "store"), "reference_seconds": [0.3, 0.6]},
        "model": TINY.to_dict(),
        "run": {"batch_size": 6, "steps": 5, "log_every": 1, "tensorboard": False, "threads": 1},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def test_options_stand_above_the_recipe(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RunSettings] = []

    def note(_recipe: Any, settings: RunSettings) -> loop.RunResult:
        seen.append(settings)
        return loop.RunResult("finished", 5, None, Path("x"))

    monkeypatch.setattr(loop, "run", note)
    options = "--devices 3 --strategy zero2 --precision bfloat16 --accumulate 2 --epochs 4"
    switches = "--checkpointing --compile --offload --set seed=9 --set precision=float16"
    assert run_command(["train", str(recipe), *options.split(), *switches.split()]) == 0
    assert run_command(["train", str(recipe)]) == 0
    changed, plain = seen
    assert (changed.devices, changed.strategy, changed.precision) == (3, "zero2", "bfloat16")
    assert (changed.accumulate, changed.epochs, changed.steps, changed.seed) == (2, 4, 0, 9)
    assert changed.checkpointing
    assert changed.compile
    assert changed.offload
    assert (plain.devices, plain.strategy, plain.precision) == (1, "auto", "float32")
    assert (plain.steps, plain.checkpointing, plain.compile) == (5, False, False)


def test_a_wrong_option_is_named(recipe: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["train", str(recipe), "--strategy", "zero9"]) == 2
    said = capfd.readouterr().err
    assert "strategy" in said
    assert "zero9" in said
    assert "zero3" in said


def test_leaving_is_for_processes_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    teach.leave_launched(3)  # else this line would be the last of the tests


def test_torchrun_and_devices_give_the_same_curve(recipe: Path, tmp_path: Path) -> None:
    strategy = ["--strategy", "zero2"]
    for name, launcher, extra in (
        ("devices", [sys.executable], ["--devices", "2"]),
        ("torchrun", TORCHRUN, []),
    ):
        command = [*launcher, "-m", "kouji", "train", str(recipe), *strategy, *extra]
        done = subprocess.run(
            [*command, "--set", f"out={tmp_path / name}"],
            capture_output=True, text=True, check=False, timeout=300,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "finished at step 5" in done.stderr
    curves = [logged(tmp_path / name) for name in ("devices", "torchrun")]
    assert len(curves[0]) == 5
    assert curves[0] == curves[1]
