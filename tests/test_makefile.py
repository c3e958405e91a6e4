"""`make` remembers what it installed, and only that."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.mark.parametrize(("pip", "is_stamped"), [("true", True), ("false", False)])
def test_the_extra_eval_is_tried_again_until_it_is_there(
    root_dir: Path, tmp_path: Path, pip: str, is_stamped: bool
) -> None:
    for name in (".made", ".torch", ".core", ".dev"):
        (tmp_path / name).touch()
    target = tmp_path / ".eval"
    command = ["make", f"VENV={tmp_path}", f"PIP={pip}", str(target)]
    told = subprocess.run(command, cwd=root_dir, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert target.exists() == is_stamped
    assert ("could not be installed" in told.stderr) == (not is_stamped)


def test_fuzz_sends_a_hundred_thousand_unless_told(root_dir: Path) -> None:
    def recipe(**environment: str) -> str:
        told = subprocess.run(
            ["make", "-n", "-o", ".venv/.core", "-o", ".venv/.dev", "fuzz", "BIN=."],
            cwd=root_dir, capture_output=True, text=True, env={**os.environ, **environment},
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        (line,) = (line for line in told.stdout.splitlines() if "test_fuzz.py" in line)
        shown = subprocess.run(
            ["sh", "-c", line.replace("./python", "printenv KOUJI_FUZZ_EXAMPLES #")],
            capture_output=True, text=True, env={**os.environ, **environment},
        )  # fmt: skip
        return shown.stdout.strip()

    assert recipe() == "100000"
    assert recipe(KOUJI_FUZZ_EXAMPLES="5000") == "5000"


def test_every_verb_is_listed_by_help(root_dir: Path) -> None:
    text = (root_dir / "Makefile").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith(".PHONY:"))
    verbs = set(line.split()[1:]) - {"help", "clean"}
    listed = {line.split()[2] for line in text.splitlines() if '@echo "make ' in line}
    assert listed == verbs
