"""Killed processes end a run within a minute, and the last checkpoint carries it on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import killed_run
import pytest
from toy_recipe import ToyRecipe, logged, toy_settings

from kouji.train.checkpoint import CheckpointStore, load_checkpoint
from kouji.train.loop import run

LIMIT_SECONDS = 60.0  # from a kill to the end of the run
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def start(folder: Path, launcher: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script to its end; OMP threads are kept from fighting over two cores."""
    command = [*launcher, killed_run.__file__, str(folder), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=environment
    )


def assert_ended_in_time(folder: Path) -> None:
    assert time.time() - float((folder / "died").read_text()) < LIMIT_SECONDS


def assert_last_checkpoint_is_whole(folder: Path, step: int) -> None:
    store = CheckpointStore(folder / "run" / "checkpoints", 3)
    assert [path.name for path in store.steps()][-1] == f"step-{step:08d}"
    assert load_checkpoint(store.steps()[-1]).state["step"] == step  # checks the hashes


def assert_curve_of_one(folder: Path, tmp_path: Path) -> None:
    """As if nobody had been killed: every step once, with the loss of an undisturbed run."""
    run(ToyRecipe(count=33), toy_settings(tmp_path / "one", steps=16, batch_seconds=9.0))
    losses = logged(folder / "run")
    assert len(losses) == 16
    assert losses == pytest.approx(logged(tmp_path / "one"), abs=1e-4)


def test_a_killed_worker_ends_the_run_and_the_same_line_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = start(folder, [sys.executable], "--devices", "2", "--die", "0:1:7")
    assert_ended_in_time(folder)
    assert done.returncode != 0
    assert "process 1 of the run was ended by SIGKILL" in done.stderr
    assert_last_checkpoint_is_whole(folder, 7)
    done = start(folder, [sys.executable], "--devices", "2")
    assert done.returncode == 0, done.stderr
    assert "resumed from" in done.stderr
    assert_curve_of_one(folder, tmp_path)


@pytest.mark.slow  # the next test has such a death too, under torchrun
def test_process_0_killed_while_it_writes_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    done = start(folder, [sys.executable], "--devices", "2", "--die", "0:0:7:writing")
    assert_ended_in_time(folder)
    assert done.returncode != 0
    assert "process 0 of the run was ended by SIGKILL" in done.stderr
    assert_last_checkpoint_is_whole(folder, 7)
    left = list((folder / "run" / "checkpoints").glob(".step-*"))
    assert left, "the half checkpoint lies beside, under another name"


def test_torchrun_restarts_from_the_last_checkpoint_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    deaths = ["--die", "0:0:4", "--die", "1:1:9:writing", "--die", "1:0:9:writing"]
    done = start(folder, [*TORCHRUN, "--max-restarts", "2"], *deaths)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("resumed from") == 2
    assert_curve_of_one(folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("death", ["0:0:5", "0:1:5", "0:0:5:writing"])
def test_torchrun_without_restarts_ends_in_time(tmp_path: Path, death: str) -> None:
    folder = tmp_path / "run"
    done = start(folder, TORCHRUN, "--die", death)
    assert_ended_in_time(folder)
    assert done.returncode != 0
    assert "another process of the run is gone" in done.stderr
    assert_last_checkpoint_is_whole(folder, 5)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_sharded_runs_restart_as_well(tmp_path: Path, strategy: str) -> None:
    folder = tmp_path / "run"
    deaths = ["--die", "0:1:4", "--die", "1:0:9:writing", "--strategy", strategy]
    done = start(folder, [*TORCHRUN, "--max-restarts", "2"], *deaths)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("resumed from") == 2
    assert_curve_of_one(folder, tmp_path)
