"""Runs scripts as somebody without Kouji would: it, and what it brings along, cannot be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_RUN = """
import runpy, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_example(name: str, *arguments: object) -> str:
    """What an example of `examples/` prints; it has numpy and onnxruntime. Raises if it fails."""
    return run_script(EXAMPLES / name, *arguments, without="kouji,torch,onnx,soundfile,scipy")


def run_script(
    path: Path, *arguments: object, without: str = "kouji", folder: Path | None = None
) -> str:
    """What a script prints.

    without: modules that cannot be imported, with commas
    folder:  where it runs
    """
    command = [sys.executable, "-I", "-c", _RUN, without, str(path), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
