"""The README says the truth: its Python runs, its commands exist."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from kouji.cli.app import app
from kouji.voices.sample import sample_path

if TYPE_CHECKING:
    from kouji.api import TTS

PAGES = ("README.md", "README.zh-CN.md")
FIRST_SCREEN_LINES = 24


def blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks of a page in one language ("" for commands)."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", PAGES)
def test_the_python_of_the_page_runs(
    root_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_tts: TTS, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kouji.api.load", lambda _: tiny_tts)
    shutil.copy(sample_path(), tmp_path / "reference.wav")
    (code,) = blocks((root_dir / name).read_text(encoding="utf-8"), "python")
    exec(compile(code, name, "exec"), {})
    assert (tmp_path / "out.wav").stat().st_size > 10_000


@pytest.mark.parametrize("name", PAGES)
def test_the_commands_of_the_page_exist(root_dir: Path, name: str) -> None:
    page = (root_dir / name).read_text(encoding="utf-8")
    commands = [
        words[words.index("kouji") + 1 :]
        for block in blocks(page, "")
        for line in block.splitlines()
        for part in line.split("|")
        if "kouji" in (words := shlex.split(part.replace(".venv/bin/", "")))
    ]
    assert len(commands) >= 5
    for words in commands:
        command: Any = typer.main.get_command(app)
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        known = {option for param in command.params for option in param.opts}
        wrong = [word for word in words if re.match(r"--?[a-z]", word) and word not in known]
        assert not hasattr(command, "commands"), f"no such command: {words}"
        assert not wrong, f"{command.name} has no {wrong}"


@pytest.mark.parametrize("name", PAGES)
def test_both_commands_are_on_the_first_screen(root_dir: Path, name: str) -> None:
    lines = (root_dir / name).read_text(encoding="utf-8").splitlines()[:FIRST_SCREEN_LINES]
    assert "make demo" in lines
    assert any(line.startswith(".venv/bin/kouji say ") for line in lines)
