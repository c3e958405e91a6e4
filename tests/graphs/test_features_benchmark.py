"""The benchmark of feature extraction makes its own clips, and what it times does read them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch


def test_its_clips_are_made_and_their_features_extracted(
    root_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script = root_dir / "benchmarks" / "classifier_features.py"
    spec = importlib.util.spec_from_file_location("features_benchmark", script)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.make_clips(tmp_path / "clips", 10)
    monkeypatch.setattr("sys.argv", ["-c", str(tmp_path / "clips"), str(tmp_path / "store"), "1"])
    threads = torch.get_num_threads()
    try:
        exec(benchmark.COMMAND, {})
    finally:
        torch.set_num_threads(threads)
    num_clips, seconds = capsys.readouterr().out.split()
    assert (int(num_clips), float(seconds) > 0) == (10, True)
