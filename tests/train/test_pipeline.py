"""From a folder of recordings to speech, by the commands a user types."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from tiny_mini import TINY

from kouji.cli import run as kouji
from kouji.train.store import Store

RATE = 22_050
LINES = ("the north wind", "and the sun", "were disputing", "which was the stronger")


def _voice(seconds: float, pitch_hz: float, seed: int) -> np.ndarray[Any, Any]:
    """Harmonics with a syllable's swelling, quiet edges and a faint floor."""
    times = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * times) / k for k in range(1, 20))
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * times)
    edges = np.minimum(1, np.minimum(times, seconds - times) * 8) ** 2
    noise = np.random.default_rng(seed).normal(0, 1e-4, len(times))
    return (0.1 * tone * swell * edges + noise).astype(np.float32)


def _write_ljspeech(root: Path, num_clips: int = 24) -> None:
    (root / "wavs").mkdir(parents=True)
    rows = []
    for number in range(num_clips):
        text = LINES[number % len(LINES)]
        sound = _voice(1.0 + 0.15 * (number % 5), 110 + 7 * number, number)
        soundfile.write(root / f"wavs/LJ-{number:03d}.wav", sound, RATE)
        rows.append(f"LJ-{number:03d}|{text}|{text}\n")
    (root / "metadata.csv").write_text("".join(rows), encoding="utf-8")


def _write_recipe(folder: Path, name: str, data: dict[str, Any], **run: Any) -> Path:
    model = json.loads(json.dumps(TINY.to_dict()))  # lists, as YAML has them
    settings = {
        "out": str(folder / name), "steps": 4, "batch_size": 4, "log_every": 1, "num_workers": 0,
        "evaluate_every": 2, "samples_every": 4, "threads": 1, **run,
    }  # fmt: skip
    document = {"recipe": name, "data": data, "model": model, "run": settings}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def _stop_training(recipe: Path, out: Path, number: signal.Signals) -> tuple[int, str, Path]:
    """Start a run without end, signal it once it takes steps; exit code, stderr, checkpoint."""
    command = [sys.executable, "-m", "kouji", "train", str(recipe)]
    for change in ("steps=1000000", "tensorboard=false", "progress_seconds=1e-6"):
        command += ["--set", change]
    seen = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            seen.append(line)
            if line.startswith("step ") and "loss" in line:
                break
        os.kill(process.pid, number)
        seen.append(process.communicate()[1])
    return process.returncode, "".join(seen), sorted((out / "checkpoints").glob("step-*"))[-1]


def test_recordings_become_a_voice_that_speaks(
    tmp_path: Path, home_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, prepared = tmp_path / "lj", tmp_path / "prepared"
    _write_ljspeech(data)
    rules = ["--layout", "ljspeech", "--workers", "0", "--valid-percent", "15"]
    assert kouji(["prepare", str(data), "--out", str(prepared), *rules]) == 0
    store = Store(prepared)
    assert len(store) == 24
    assert {clip.split for clip in store.clips} == {"train", "valid"}
    assert kouji(["align", str(prepared)]) == 0

    acoustic = _write_recipe(
        tmp_path,
        "mini-acoustic",
        {"store": str(prepared), "reference_seconds": [0.5, 1.0]},
    )
    vocoder = _write_recipe(tmp_path, "mini-vocoder", {"store": str(prepared), "frames": 24})
    for recipe in (acoustic, vocoder):
        assert kouji(["train", str(recipe)]) == 0, capfd.readouterr().err
        out = tmp_path / recipe.stem
        kinds = [json.loads(line)["kind"] for line in (out / "log.jsonl").read_text().splitlines()]
        assert (kinds.count("train"), kinds.count("valid")) == (4, 2)
        assert any((out / "tensorboard").iterdir())

    model, spoken = tmp_path / "model", tmp_path / "out.wav"
    runs = [str(tmp_path / recipe.stem) for recipe in (acoustic, vocoder)]
    assert kouji(["export", *runs, "--data", str(prepared), "--out", str(model)]) == 0
    say = ["say", "hello there", "--voice", "sample", "--model", str(model), "--out", str(spoken)]
    assert kouji(say) == 0, capfd.readouterr().err
    assert soundfile.info(spoken).duration > 0.1

    lean = ["--out", str(tmp_path / "lean"), "--fields", "mel,f0,wave", "--quantise", "mel"]
    assert kouji(["pack", str(prepared), *lean, "--limit-mb", "1"]) == 0
    assert 0 < len(Store(tmp_path / "lean")) < 24
    assert sum(file.stat().st_size for file in (tmp_path / "lean").iterdir()) < 1.1 * 2**20
    assert kouji(["pack", str(prepared), "--out", str(prepared)]) == 1
    assert kouji(["pack", str(prepared), "--out", str(tmp_path / "x"), "--fields", "mle"]) == 1
    assert "no such arrays (seen: ['mle']" in capfd.readouterr().err

    # Signals: the step is finished, saved, and gone on from.
    out, steps = tmp_path / "mini-acoustic", [4]
    for number in (signal.SIGTERM, signal.SIGINT):
        code, stderr, saved = _stop_training(acoustic, out, number)
        assert code == 128 + number, stderr
        steps.append(json.loads((saved / "state.json").read_text())["step"])
        assert steps[-1] > steps[-2]
        assert f"interrupted at step {steps[-1]}" in stderr
        assert f"resumed from {out}/checkpoints/step-{steps[-2]:08d}" in stderr
    assert kouji(["train", str(acoustic), "--set", f"steps={steps[-1] + 2}"]) == 0
    assert f"at step {steps[-1] + 2}" in capfd.readouterr().err
