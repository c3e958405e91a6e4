"""The benchmark of forward passes runs, and compares what it says it compares."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest


def test_the_quick_run_ends_in_one_json_line(
    root_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = root_dir / "benchmarks" / "classifier.py"
    spec = importlib.util.spec_from_file_location("classifier_benchmark", script)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr("sys.argv", [str(script), "--quick", "--networks", "two-conv"])
    benchmark.main()
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["batch"] for row in told["results"]] == [4, 1]
    for result in told["results"]:
        ways = {row["way"]: row for row in result["ways"]}
        assert ways["plain"]["times_plain"] == 1.0
        assert ways["channels last"]["difference"] < 1e-5
        assert 0 < ways["bfloat16"]["difference"] < 1e-2  # it computes in another format indeed
