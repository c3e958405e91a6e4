"""The benchmark of forward passes runs, and compares what it says it compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def test_the_quick_run_ends_in_one_json_line(root_dir: Path) -> None:
    script = root_dir / "benchmarks" / "classifier.py"
    command = [sys.executable, str(script), "--quick", "--networks", "two-conv", "--threads", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert [row["batch"] for row in told["results"]] == [4, 1]
    for result in told["results"]:
        ways = {row["way"]: row for row in result["ways"]}
        assert ways["plain"]["times_plain"] == 1.0
        assert ways["channels last"]["difference"] < 1e-5
        assert 0 < ways["bfloat16"]["difference"] < 1e-2  # it computes in another format indeed
