"""Mistyped commands: one line on stderr, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from kouji.cli import run

MISSING = [
    ["voice", "add", "bob", "missing.wav", "--attest"],
    ["voice", "check", "missing.wav"],
    ["watermark", "detect", "missing.wav"],
    ["slice", "missing.wav", "--out", "pieces"],
    ["evaluate", "mini", "--set", "missing.jsonl"],
    ["say", "--file", "missing.txt", "--out", "out.wav"],
    ["say", "hi", "--voice", "missing.wav", "--out", "out.wav"],
    ["train", "missing.yaml"],
    ["prepare", "missing", "--out", "prepared"],
    ["align", "missing"],
    ["export", "missing", "missing", "--out", "weights"],
]


@pytest.mark.parametrize("command", MISSING, ids=lambda command: " ".join(command[:2]))
def test_a_file_that_is_not_there(
    command: list[str],
    tmp_path: Path,
    home_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(command) == 2
    captured = capfd.readouterr()
    assert captured.err.count("\n") == 1
    assert "missing" in captured.err
    assert captured.out == ""
    assert [path for path in tmp_path.iterdir() if path != home_dir] == []


def test_a_folder_where_a_file_is_needed(
    tmp_path: Path, home_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["voice", "check", str(tmp_path)]) == 2
    assert "folder" in capfd.readouterr().err
