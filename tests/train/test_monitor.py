"""log.jsonl, TensorBoard and progress lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_recipe import toy_settings

from kouji.train.monitor import Monitor, colour


def test_board_gets_scalars_audio_and_pictures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monitor = Monitor(toy_settings(tmp_path, tensorboard=True))
    monitor.begin(0)
    monitor.scalars(3, {"loss": 0.5, "learning_rate": 1e-3})
    monitor.audio("voice", torch.sin(torch.arange(2400) / 10), 24_000, 3)
    monitor.mel("mel", torch.randn(80, 50, dtype=torch.bfloat16), 3)
    monitor.alignment("alignment", torch.eye(12), 3)
    monitor.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = events.Tags()
    assert set(tags["scalars"]) == {"train/loss", "train/learning_rate"}
    assert tags["audio"] == ["voice"]
    assert set(tags["images"]) == {"mel", "alignment"}
    picture = events.Images("mel")[0]
    assert (picture.width, picture.height) == (50, 80)


def test_low_values_are_dark_and_broken_ones_too() -> None:
    image = colour(np.array([[0.0, 1.0, np.nan, np.inf]], dtype=np.float32))
    assert image.shape == (3, 1, 4)
    assert image.dtype == np.uint8
    brightness = image.sum(0)[0].tolist()
    assert brightness[0] == brightness[2] < brightness[1] == brightness[3]
    assert colour(np.zeros((2, 3), np.float32)).shape == (3, 2, 3)


def test_log_is_cut_where_the_run_goes_on(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "kind": "train"}) for step in (10, 20, 30)]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"step": 4']))
    monitor = Monitor(toy_settings(tmp_path))
    monitor.begin(20)
    monitor.scalars(21, {"loss": float("nan")})
    monitor.close()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [10, 20, 21]
    assert records[-1]["loss"] == "nan"


def test_lines_tell_step_facts_and_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monitor = Monitor(toy_settings(tmp_path, steps=200, progress_seconds=1e-9))
    monitor.begin(0)
    monitor.tick(50, {"loss": 0.123456})
    monitor.say("hello [1]")
    monitor.close()
    said = capsys.readouterr()
    assert "step 50/200  loss 0.1235  left 00:00:" in said.err
    assert "hello [1]" in said.err
    assert said.out == ""


def test_bar_is_shown_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monitor = Monitor(toy_settings(tmp_path, steps=200))
    monitor.begin(0)
    monitor.tick(50, {"loss": 0.5})
    monitor.tick(200)
    monitor.say("hello [1]")
    monitor.close()
    said = capsys.readouterr().err
    assert "200/200" in said
    assert "hello [1]" in said


def test_other_processes_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(toy_settings(tmp_path, tensorboard=True), is_active=False)
    monitor.begin(0)
    monitor.scalars(1, {"loss": 1.0})
    monitor.audio("a", torch.zeros(10), 24_000, 1)
    monitor.tick(1, {"loss": 1.0})
    monitor.say("hello")
    monitor.close()
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""
