"""The benchmark of training runs and ends in a line for machines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_the_benchmark_measures_every_variant(root_dir: Path) -> None:
    command = [sys.executable, "benchmarks/training.py", "--quick", "--only", "transformer"]
    done = subprocess.run(
        [*command, "--runs", "1", "--warm-up", "1"],
        capture_output=True, text=True, check=False, cwd=root_dir,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.strip().splitlines()[-1])
    rows = {row["variant"]: row for row in record["rows"]}
    assert len(rows) == 5
    assert not any("failed" in row for row in rows.values())
    kept = rows["bf16 + checkpointing"]["activations_mb"] / rows["bf16"]["activations_mb"]
    assert kept < 0.5
    assert rows["zero2 x 2"]["update_mb"] < 0.8 * rows["fp32"]["update_mb"]
    assert {row["run"] for row in record["waits"]} == {"mini acoustic", "sounds"}
    assert any(row["ratio"] == "speed_bf16" for row in record["ratios"])
