"""docs/classification.md holds: its Python runs, its commands and options exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import typer.main
from tiny_classifier import make_tiny_classifier

from kouji.classifying import load_classifier
from kouji.cli.app import app


def blocks(root: Path, language: str) -> list[str]:
    """The fenced code blocks of the page in one language."""
    page = (root / "docs/classification.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


def test_the_python_of_the_page_runs(
    root_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = make_tiny_classifier(tmp_path / "model")
    monkeypatch.setattr("kouji.classifying.load_classifier", lambda: load_classifier(folder))
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 30_000)
    soundfile.write(tmp_path / "dog.ogg", noise, 16_000)
    (code,) = blocks(root_dir, "python")
    exec(compile(code, "classification.md", "exec"), {})
    first, *windows = capsys.readouterr().out.splitlines()
    assert first.endswith("1.875")
    assert len(windows) == 3


def test_the_commands_of_the_page_exist(root_dir: Path) -> None:
    lines = [line for block in blocks(root_dir, "sh") for line in block.splitlines()]
    commands = [shlex.split(part) for line in lines for part in line.split("|") if "kouji" in part]
    assert len(commands) >= 10
    for words in commands:
        command: Any = typer.main.get_command(app)
        rest = words[words.index("kouji") + 1 :]
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]
        assert not hasattr(command, "commands"), f"no such command: {words}"
        known = {option for param in command.params for option in param.opts}
        wrong = [word for word in rest if word.startswith("--") and word not in known]
        assert not wrong, f"{command.name} has no {wrong}"
