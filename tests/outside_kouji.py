"""Runs a script of `examples/` as somebody without Kouji would: it and PyTorch cannot be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_RUN = """
import runpy, sys
for name in ("kouji", "torch", "onnx", "soundfile", "scipy"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_example(name: str, *arguments: object) -> str:
    """What an example prints; raises where it fails."""
    command = [sys.executable, "-I", "-c", _RUN, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
