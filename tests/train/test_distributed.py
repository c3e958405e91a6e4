"""Two gloo processes take the same steps as one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import toy_recipe
from toy_recipe import ToyRecipe, logged, toy_settings

from kouji.errors import DataError
from kouji.train.checkpoint import export_weights
from kouji.train.distributed import spawn
from kouji.train.loop import run


def test_two_processes_of_torchrun_follow_the_curve_of_one(tmp_path: Path) -> None:
    # 33 clips in batches of few: shares are uneven and some are empty.
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", toy_recipe.__file__, str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run(ToyRecipe(count=33), toy_settings(tmp_path / "one", batch_seconds=9.0))
    for name in ("loss", "grad_norm", "error"):
        one, two = (logged(tmp_path / folder, name) for folder in ("one", "two"))
        assert len(one) == len(two) == 12
        assert one == pytest.approx(two, abs=1e-4)
    one, two = (export_weights(tmp_path / n / "checkpoints/step-00000012") for n in ("one", "two"))
    for name, value in one.items():
        assert (value - two[name]).abs().max() < 1e-4


def test_signals_and_errors_of_local_processes(tmp_path: Path) -> None:
    """One start of processes for all, since starting them takes most of the time."""
    run(ToyRecipe(), toy_settings(tmp_path / "1", steps=4))  # only process 1 looks there
    with pytest.raises(DataError, match="a disk of machine 1 is missing"):
        spawn(toy_recipe.stop_and_fail, (tmp_path,), 2)
    for rank in range(2):
        stopped, bad, apart = (tmp_path / f"end-{rank}").read_text().splitlines()
        assert stopped == "interrupted 6"  # the signal went to process 1 only
        assert "too many clips cannot be used" in bad
        assert "different checkpoints (seen: process 0: None, process 1: 4" in apart
    assert len((tmp_path / "bad/bad_clips.txt").read_text().splitlines()) >= 2
    assert "WORLD_SIZE" not in os.environ
