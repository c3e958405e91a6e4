"""`kouji classify prepare`: the table on stdout, what is amiss on stderr, and a report of both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from kouji.cli.classify_prepare import prepare_sounds
from kouji.train.sound_store import open_sounds

commands = typer.Typer()
commands.command()(prepare_sounds)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three clips of one class and six of the other, one of them damaged."""
    for label, count in (("bell", 3), ("rain", 6)):
        for number in range(count):
            path = tmp_path / "data" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng([number, count]).standard_normal(4000)
            soundfile.write(path, 0.1 * noise.clip(-3, 3), 8000)
    (tmp_path / "data" / "rain" / "0.wav").write_bytes(b"no sound")
    return tmp_path / "data"


def prepare(*arguments: object) -> Result:
    result = CliRunner().invoke(commands, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_balance_is_shown_and_damage_told(data: Path, tmp_path: Path) -> None:
    result = prepare(data, "--out", tmp_path / "store", "--sample-rate", 8000, "--jobs", 1)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[1].split()[:3] == ["bell", "3", "1.5"]
    assert lines[4].startswith("imbalance 1.67")
    assert "0.wav" in result.stderr
    assert "made here" in result.stderr
    report = json.loads((tmp_path / "store" / "report.json").read_text("utf-8"))
    assert [Path(fault["path"]).name for fault in report["unreadable"]] == ["0.wav"]
    assert report["balance"]["imbalance"] == pytest.approx(5 / 3, abs=1e-3)
    assert report["folds_made_here"] is True
    assert (tmp_path / "store" / "balance.png").read_bytes().startswith(b"\x89PNG")


def test_names_no_picture_can_show_are_names_all_the_same(data: Path, tmp_path: Path) -> None:
    """A dollar sign begins no formula, and a font without Chinese is no warning to the user."""
    rows = ["path|label|fold"]
    rows += [f"rain/{n}.wav|钢琴|$\\bad{n % 2}$" for n in range(1, 6)]
    rows += [f"bell/{n}.wav|$\\bad$|$\\bad{n % 2}$" for n in range(3)]
    (data / "manifest.csv").write_text("\n".join(rows) + "\n", "utf-8")
    result = prepare(data, "--out", tmp_path / "store", "--sample-rate", 8000, "--jobs", 1)
    assert result.exit_code == 0
    assert "$\\bad1$" in result.stdout
    assert "钢琴" in result.stdout
    assert "Glyph" not in result.stderr
    assert (tmp_path / "store" / "balance.png").read_bytes().startswith(b"\x89PNG")


def test_features_are_stored_as_asked(data: Path, tmp_path: Path) -> None:
    own = ("--features", "--mels", 24, "--n-fft", 512, "--hop-length", 200, "--sample-rate", 8000)
    prepare(data, "--out", tmp_path / "store", "--jobs", 1, *own)
    clips = open_sounds(tmp_path / "store", 8000)
    assert clips.log_mel(0).shape == (21, 24)
    assert np.isfinite(clips.log_mel(0)).all()
