"""A run as a whole: it learns, resumes exactly, stops safely and says what happened."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_recipe import ToyGan, ToyRecipe, logged, toy_settings

from kouji.errors import ConfigError, TrainingError
from kouji.train.checkpoint import export_weights
from kouji.train.distributed import World
from kouji.train.loop import run
from kouji.train.stepper import Stepper


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_overfits_four_clips(tmp_path: Path, precision: Any) -> None:
    settings = toy_settings(
        tmp_path, steps=300, batch_size=4, batch_seconds=0.0, precision=precision, log_every=10
    )
    result = run(ToyRecipe(count=4, width=64), settings)
    losses = logged(tmp_path)
    assert (result.status, result.step, result.signal) == ("finished", 300, None)
    assert losses[-1] < 0.05 * losses[0]
    assert {v.dtype for v in export_weights(result.checkpoint).values()} == {torch.float32}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_workers": 0, "sample_power": 0.5, "ema_decay": 0.9, "ema_every": 2},
        {"precision": "bfloat16", "accumulate": 2, "num_workers": 3},
        {"precision": "float16"},
    ],
)
def test_resume_equals_uninterrupted_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    recipe = ToyRecipe(dropout=0.2)
    one = run(recipe, toy_settings(whole, steps=24, **changes))
    stop = ToyRecipe(dropout=0.2, signal_at=(9, 0, signal.SIGTERM))
    interrupted = run(stop, toy_settings(parts, steps=24, **changes))
    assert interrupted.step == 10
    two = run(recipe, toy_settings(parts, steps=24, **changes))
    assert two.step == 24
    assert logged(whole) == logged(parts)
    for ema in (True, False):
        assert same(export_weights(one.checkpoint, ema), export_weights(two.checkpoint, ema))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_finish_the_step_and_save(tmp_path: Path, number: int, code: int) -> None:
    before = signal.getsignal(number)
    result = run(ToyRecipe(signal_at=(5, 0, number)), toy_settings(tmp_path, steps=1000))
    assert (result.status, result.step) == ("interrupted", 6)
    assert result.signal is not None
    assert 128 + result.signal == code
    assert result.checkpoint.name == "step-00000006"
    assert (result.checkpoint / "model.safetensors").exists()
    assert signal.getsignal(number) is before


def test_second_interrupt_acts_as_usual(tmp_path: Path) -> None:
    class Twice(ToyRecipe):
        def loss(self, *args: Any) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return super().loss(*args)

    with pytest.raises(KeyboardInterrupt):
        run(Twice(), toy_settings(tmp_path))


def test_pauses_after_its_time_and_goes_on(tmp_path: Path) -> None:
    result = run(ToyRecipe(), toy_settings(tmp_path, stop_after_seconds=1e-9))
    assert (result.status, result.step) == ("paused", 1)
    assert run(ToyRecipe(), toy_settings(tmp_path)).step == 12


def test_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    first = run(ToyRecipe(), toy_settings(tmp_path))
    log = (tmp_path / "log.jsonl").read_text()
    assert run(ToyRecipe(), toy_settings(tmp_path)) == first
    assert (tmp_path / "log.jsonl").read_text() == log


def test_accumulation_equals_one_large_batch(tmp_path: Path) -> None:
    curves = []
    for passes in (1, 3):
        folder = tmp_path / str(passes)
        run(ToyRecipe(), toy_settings(folder, accumulate=passes, weight_decay=0.1))
        curves.append((logged(folder), logged(folder, "grad_norm"), logged(folder, "error")))
    for one, many in zip(*curves, strict=True):
        assert one == pytest.approx(many, abs=1e-5, rel=1e-5)


def test_nan_stops_and_names_step_clips_and_checkpoint(tmp_path: Path) -> None:
    settings = toy_settings(tmp_path, steps=40, nonfinite_limit=2, save_every_seconds=0.0)
    with pytest.raises(TrainingError) as caught:
        run(ToyRecipe(nan_steps=tuple(range(20, 40))), settings)
    message = str(caught.value)
    assert "not finite at step 22" in message
    assert "clips/" in message
    path = Path(message.rsplit("last good checkpoint: ", 1)[1])
    assert all(v.isfinite().all() for v in export_weights(path).values())


def test_nan_before_any_checkpoint_saves_the_good_weights(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"last good checkpoint: .*step-00000004"):
        run(ToyRecipe(nan_steps=(3,)), toy_settings(tmp_path, nonfinite_limit=0))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_single_nan_step_is_skipped_and_changes_nothing(
    tmp_path: Path, precision: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = toy_settings(tmp_path, steps=6, precision=precision, decay="constant")
    whole = run(ToyRecipe(nan_steps=(5,)), settings)
    before = run(
        ToyRecipe(), toy_settings(tmp_path / "b", steps=5, precision=precision, decay="constant")
    )
    assert same(export_weights(whole.checkpoint), export_weights(before.checkpoint))
    assert "step 5 was skipped: loss nan, clips clips/" in capsys.readouterr().err
    record = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-2])
    assert (record["kind"], record["step"], record["loss"]) == ("skipped", 5, "nan")
    assert all(clip.startswith("clips/") for clip in record["clips"])


def test_diverged_loss_stops_with_the_last_good_checkpoint(tmp_path: Path) -> None:
    settings = toy_settings(
        tmp_path, steps=100, save_every_seconds=0.0, divergence_patience=5, clip_norm=1e-3
    )
    with pytest.raises(TrainingError) as caught:
        run(ToyRecipe(blow_up=40), settings)
    assert "diverged at step 44" in str(caught.value)
    assert str(caught.value).endswith("step-00000040")  # saved before the loss rose


def test_bad_clips_are_listed_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = ToyRecipe(bad=(3, 7), poison=(11,))
    result = run(recipe, toy_settings(tmp_path, max_bad_fraction=0.2))
    assert result.status == "finished"
    lines = (tmp_path / "bad_clips.txt").read_text().splitlines()
    reports = dict(line.split("\t") for line in lines)
    assert sorted(reports) == ["clips/003.wav", "clips/007.wav", "clips/011.wav"]
    assert "DataError: clip is broken" in reports["clips/003.wav"]
    assert "x is not finite" in reports["clips/011.wav"]
    assert "3 clips were left out" in capsys.readouterr().err
    assert all(loss == loss for loss in logged(tmp_path))


def test_batches_of_bad_clips_only_change_nothing(tmp_path: Path) -> None:
    bad = tuple(range(0, 32, 2))
    settings = toy_settings(
        tmp_path, batch_seconds=0.0, batch_size=1, max_bad_fraction=1.0, steps=64
    )
    assert run(ToyRecipe(bad=bad), settings).status == "finished"
    assert (
        run(
            ToyRecipe(bad=tuple(range(32))), toy_settings(tmp_path / "b", max_bad_fraction=1.0)
        ).step
        == 12
    )


def test_too_many_bad_clips_stop(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"too many clips.*of 32.*5\.0% .*bad_clips.txt"):
        run(ToyRecipe(bad=tuple(range(0, 32, 4))), toy_settings(tmp_path))


def test_corrupted_last_checkpoint_falls_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = toy_settings(tmp_path, steps=8, save_every_seconds=0.0, keep_last=3)
    uninterrupted = run(ToyRecipe(), settings)
    weights = export_weights(uninterrupted.checkpoint)
    for name, step in (("optimizer.pt", 8), ("state.json", 7)):
        file = tmp_path / f"checkpoints/step-{step:08d}" / name
        file.write_bytes(file.read_bytes()[:-20])
    capsys.readouterr()
    again = run(ToyRecipe(), settings)
    said = capsys.readouterr().err
    assert "step-00000008 is skipped" in said
    assert "step-00000007 is skipped" in said
    assert "resumed from" in said
    assert "at step 6" in said
    assert same(export_weights(again.checkpoint), weights)
    assert logged(tmp_path)[-1] == logged(tmp_path)[7]
    assert len(logged(tmp_path)) == 8


def test_another_recipe_or_model_is_refused(tmp_path: Path) -> None:
    run(ToyRecipe(), toy_settings(tmp_path))
    with pytest.raises(TrainingError, match=r"another recipe .*seen: tyo; allowed: toy"):
        run(ToyRecipe(name="tyo"), toy_settings(tmp_path))
    with pytest.raises(
        TrainingError, match=r"does not fit.*inner.weight has shape \(16, 6\) instead of \(20, 6\)"
    ):
        run(ToyRecipe(width=20), toy_settings(tmp_path))


def test_changed_hyperparameters_hold_after_resume(tmp_path: Path) -> None:
    run(ToyRecipe(), toy_settings(tmp_path, steps=12))
    run(ToyRecipe(), toy_settings(tmp_path, steps=14, learning_rate=0.5, decay="constant"))
    assert logged(tmp_path, "learning_rate")[-1] == 0.5
    small = run(ToyRecipe(), toy_settings(tmp_path / "b", steps=12))
    moved = run(
        ToyRecipe(),
        toy_settings(
            tmp_path / "b", steps=13, learning_rate=1e-30, decay="constant", weight_decay=0.0
        ),
    )
    assert same(export_weights(small.checkpoint), export_weights(moved.checkpoint))


def test_changed_batching_begins_a_new_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(ToyRecipe(), toy_settings(tmp_path, steps=3))
    result = run(ToyRecipe(), toy_settings(tmp_path, steps=4, batch_seconds=8.0))
    assert "going on with a new epoch" in capsys.readouterr().err
    state = json.loads((result.checkpoint / "state.json").read_text())
    assert (state["sampler"]["epoch"], state["sampler"]["batch"]) == (1, 1)


def test_init_from_takes_what_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = run(ToyRecipe(), toy_settings(tmp_path / "a"))
    source = str(first.checkpoint)
    settings = toy_settings(
        tmp_path / "b", steps=1, init_from=source, learning_rate=1e-30, weight_decay=0.0
    )
    second = run(ToyRecipe(), settings)
    assert same(export_weights(first.checkpoint), export_weights(second.checkpoint))
    run(ToyRecipe(width=20), toy_settings(tmp_path / "c", steps=1, init_from=source))
    assert "1 of 6 tensors fit" in capsys.readouterr().err  # the last bias
    with pytest.raises(TrainingError, match="nothing in init_from fits"):
        run(ToyGan(), toy_settings(tmp_path / "d", steps=1, init_from=source))


def test_best_checkpoint_outlives_newer_ones(tmp_path: Path) -> None:
    class Worsening(ToyRecipe):
        best_metric = "badness"

        def evaluate(self, model: Any, batches: Any, device: Any) -> dict[str, float]:
            assert not model.training
            assert device.type == "cpu"
            self.seen = getattr(self, "seen", 0) + 1
            return {"badness": abs(self.seen - 2), "clips": sum(len(b["x"]) for b in batches)}

    settings = toy_settings(
        tmp_path, steps=12, evaluate_every=2, save_every_seconds=0.0, keep_last=2
    )
    result = run(Worsening(), settings)
    names = sorted(p.name for p in (tmp_path / "checkpoints").glob("step-*"))
    assert names == ["step-00000004", "step-00000011", "step-00000012"]
    assert result.best == 0
    assert json.loads((tmp_path / "checkpoints/best.json").read_text())["step"] == 4
    assert logged(tmp_path, "clips", "valid") == [8] * 6


def test_evaluation_and_samples_leave_training_alone(tmp_path: Path) -> None:
    class Showing(ToyRecipe):
        def samples(self, model: Any, monitor: Any, step: int) -> None:
            assert not model.training
            torch.rand(7)
            monitor.mel("mel", torch.rand(8, 20), step)

    plain = run(ToyRecipe(dropout=0.1), toy_settings(tmp_path / "a", ema_decay=0.9))
    watched = toy_settings(tmp_path / "b", ema_decay=0.9, evaluate_every=2, samples_every=3)
    other = run(Showing(dropout=0.1), watched)
    assert same(export_weights(plain.checkpoint, False), export_weights(other.checkpoint, False))
    assert not same(export_weights(other.checkpoint, False), export_weights(other.checkpoint, True))


def test_gan_recipe_owns_its_step(tmp_path: Path) -> None:
    whole = run(ToyGan(), toy_settings(tmp_path / "a", steps=60, precision="bfloat16"))
    distance = logged(tmp_path / "a", "distance")
    assert sum(distance[-5:]) < 0.7 * sum(distance[:5])
    run(
        ToyGan(),
        toy_settings(tmp_path / "b", steps=60, stop_after_seconds=1e-9, precision="bfloat16"),
    )
    parts = run(ToyGan(), toy_settings(tmp_path / "b", steps=60, precision="bfloat16"))
    assert same(export_weights(whole.checkpoint), export_weights(parts.checkpoint))
    usual = {"batch_size": 1, "batch_seconds": 0.0, "max_bad_fraction": 1.0, "precision": "float16"}
    assert run(ToyGan(bad=(1, 2, 3)), toy_settings(tmp_path / "d", steps=32, **usual)).step == 32
    with pytest.raises(ConfigError, match="accumulate=2"):
        run(ToyGan(), toy_settings(tmp_path / "c", accumulate=2))


def test_runs_in_a_thread(tmp_path: Path) -> None:
    results = []
    thread = threading.Thread(
        target=lambda: results.append(run(ToyRecipe(), toy_settings(tmp_path)))
    )
    thread.start()
    thread.join()
    assert results[0].status == "finished"


def test_unusable_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.device is unknown"):
        run(ToyRecipe(), toy_settings(tmp_path, device="toaster"))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="asks for CUDA"):
            run(ToyRecipe(), toy_settings(tmp_path, device="cuda"))


class JointRecipe(ToyRecipe):
    is_joint = True


def test_more_passes_than_examples_leave_nothing_out(tmp_path: Path) -> None:
    """Also where all processes must have a share of each pass."""
    curves = []
    for passes in (4, 8):
        folder = tmp_path / str(passes)
        run(JointRecipe(), toy_settings(folder, batch_size=4, batch_seconds=0, accumulate=passes))
        curves.append(logged(folder))
    assert len(curves[0]) == 12
    assert curves[0] == pytest.approx(curves[1], abs=1e-6)


def test_a_joint_batch_feeds_every_process(tmp_path: Path) -> None:
    made, chosen = JointRecipe(), toy_settings(tmp_path, batch_size=2, batch_seconds=0)
    with pytest.raises(ConfigError, match="batch_size=2 for 3 processes"):
        Stepper(made, made.build(), chosen, World(size=3))
