"""`make` remembers what it installed, and only that."""

from __future__ import annotations

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
