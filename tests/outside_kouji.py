"""Runs scripts as somebody without Kouji would: it, and what it brings along, cannot be had."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_RUN = """
import runpy, sys
for name in sys.argv[1].split(","):
    sys.modules[name] = None
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


_EXAMPLES_LACK = "kouji,torch,onnx,soundfile,scipy"


def run_example(name: str, *arguments: object) -> str:
    """What an example of `examples/` prints; it has numpy and onnxruntime. Raises if it fails."""
    return run_script(EXAMPLES / name, *arguments, without=_EXAMPLES_LACK)


def refuse_by_example(name: str, *arguments: object) -> str:
    """What an example says to the user when it fails, which it has to."""
    done = _run(EXAMPLES / name, arguments, _EXAMPLES_LACK)
    assert done.returncode == 1
    return done.stderr


def run_script(
    path: Path, *arguments: object, without: str = "kouji", folder: Path | None = None
) -> str:
    """What a script prints.

    without: modules that cannot be imported, with commas
    folder:  where it runs
    """
    done = _run(path, arguments, without, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _run(
    path: Path, arguments: Sequence[object], without: str, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-c", _RUN, without, str(path), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, cwd=folder
    )
