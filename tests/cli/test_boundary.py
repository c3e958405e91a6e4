"""The boundary: what reaches the user of whatever goes wrong below."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import kouji
from kouji.cli import run
from kouji.cli.teach import read_changes
from kouji.errors import ConfigError

Captured = pytest.CaptureFixture[str]


def test_help_and_version(capfd: Captured) -> None:
    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"kouji {kouji.__version__}\n"
    assert run(["--help"]) == 0
    out = capfd.readouterr().out
    for command in ("say", "voice", "doctor", "prepare", "train", "evaluate", "bench"):
        assert command in out
    assert run([]) == 2
    assert "Commands:" in capfd.readouterr().err


def test_typing_errors_offer_the_nearest_command(capfd: Captured) -> None:
    assert run(["sya"]) == 2
    told = capfd.readouterr().err
    assert "'say'" in told
    assert told.count("\n") == 1


def test_a_text_like_an_option_is_helped(capfd: Captured) -> None:
    assert run(["say", "-5 degrees", "--out", "o.wav"]) == 2
    assert "put -- before" in capfd.readouterr().err


def test_unknown_settings_are_named_and_wrong_ones_refused(
    fake_tts: Any, home_dir: Path, tmp_path: Path, capfd: Captured
) -> None:
    home_dir.mkdir()
    command = ["say", "a", "--out", str(tmp_path / "o.wav"), "-q"]
    (home_dir / "config.toml").write_text("colour = 1", encoding="utf-8")
    assert run(command) == 0
    assert "kouji: warning: unknown setting 'colour'" in capfd.readouterr().err
    (home_dir / "config.toml").write_text('consent = "maybe"', encoding="utf-8")
    assert run(command) == 2
    assert "auto, off, attest, verify" in capfd.readouterr().err


def test_debug_after_the_double_dash_is_text(fake_tts: Any, tmp_path: Path) -> None:
    out = str(tmp_path / "o.wav")
    assert run(["say", "--out", out, "-q", "--", "--debug"]) == 0
    assert fake_tts.calls[-1]["text"] == "--debug"


def test_the_module_is_the_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "kouji", "say"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("kouji: nowhere to put the speech")


WAITING = """
import os, signal, sys, time
from kouji.cli import boundary
boundary._invoke = lambda arguments: (print("ready", flush=True), time.sleep(60))
from kouji.cli import run
sys.exit(run([]))
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_end_with_their_codes(number: int, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    os.kill(process.pid, number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in told


def test_set_reads_values_as_yaml() -> None:
    changes = read_changes(["steps=20", "run.decay=linear", "learning_rate=1e-3", "tensorboard=no"])
    assert changes == {
        "steps": 20,
        "decay": "linear",
        "learning_rate": 0.001,
        "tensorboard": False,
    }
    for wrong in ("steps", "=3", "x={"):
        with pytest.raises(ConfigError, match="--set"):
            read_changes([wrong])


def test_train_refuses_a_missing_recipe(capfd: Captured) -> None:
    assert run(["train", "missing.yaml"]) == 2
    assert "missing.yaml" in capfd.readouterr().err


def test_the_doctor_ends_with_a_verdict(home_dir: Path, capfd: Captured) -> None:
    code = run(["doctor"])
    out = capfd.readouterr().out
    assert "Verdict:" in out
    assert code == int("blocker(s)" in out)
