"""Runs counted in epochs, evaluations at their ends, patience, and recipes that watch figures."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from toy_recipe import ToyRecipe, logged, toy_settings

from kouji.train.checkpoint import CheckpointStore
from kouji.train.evaluation import Best
from kouji.train.loop import run
from kouji.train.sampler import BatchSampler, Position
from kouji.train.settings import RunSettings


class Watching(ToyRecipe):
    """Doubles its loss after every evaluation, up to eight times, and remembers what it saw."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.factor, self.seen = 1, list[tuple[int, float]]()

    def observe(self, step: int, figures: dict[str, float]) -> str | None:
        self.seen.append((step, figures["loss"]))
        self.factor = min(2 * self.factor, 8)
        return f"factor {self.factor}"

    def state(self) -> dict[str, Any]:
        return {"factor": self.factor}

    def restore(self, state: dict[str, Any]) -> None:
        self.factor = state["factor"]

    def loss(self, *args: Any) -> tuple[Tensor, dict[str, Any]]:
        loss, metrics = super().loss(*args)
        return loss * self.factor, metrics


class Stubborn(ToyRecipe):
    """Its validation figure falls twice, then only rises."""

    best_metric = "error"

    def evaluate(self, model: Any, batches: Any, device: Any) -> dict[str, float]:
        self.evaluations = getattr(self, "evaluations", -1) + 1
        return {"error": [3.0, 2.0][self.evaluations] if self.evaluations < 2 else 9.0}


def test_epochs_decide_steps_and_evaluations(tmp_path: Path) -> None:
    # 32 clips in batches of 5: 7 steps an epoch, the last one of 2 clips.
    recipe = Watching()
    settings = toy_settings(
        tmp_path, steps=0, epochs=4, batch_size=5, batch_seconds=0.0, evaluate_epochs=2
    )
    assert run(recipe, settings).step == 28
    assert [step for step, _ in recipe.seen] == [14, 28]
    assert run(recipe, settings).step == 28  # finished: nothing more is done
    assert len(recipe.seen) == 2


@pytest.mark.parametrize("changes", [{}, {"sample_power": 1.0}, {"batch_size": 3}])
def test_number_of_batches_is_that_of_the_epoch(changes: dict[str, Any]) -> None:
    batch_seconds = 0.0 if changes.get("batch_size") else 30.0
    settings = RunSettings(batch_seconds=batch_seconds, **changes)
    sampler = BatchSampler([0.1 * n for n in range(1, 60)], settings)
    for epoch in range(3):
        count = len(sampler.epoch(epoch))
        assert sampler.num_batches(epoch) == count
        assert sampler.is_last(Position(epoch, count - 1))
        assert not sampler.is_last(Position(epoch, count - 2))


def test_observed_state_survives_a_stop(tmp_path: Path, capsys: Any) -> None:
    changes = {"steps": 12, "evaluate_every": 3}
    whole = Watching()
    run(whole, toy_settings(tmp_path / "whole", **changes))
    assert whole.factor == 8
    assert "step 3 factor 2" in capsys.readouterr().err
    parts = toy_settings(tmp_path / "parts", **changes)
    assert run(Watching(signal_at=(7, 0, signal.SIGTERM)), parts).step == 8
    again = Watching()
    run(again, parts)
    assert [step for step, _ in again.seen] == [9, 12]
    assert logged(tmp_path / "whole") == logged(tmp_path / "parts")


def test_patience_ends_the_run_and_is_remembered(tmp_path: Path) -> None:
    settings = toy_settings(tmp_path, steps=40, evaluate_every=2, patience=3)
    result = run(Stubborn(), settings)
    assert (result.status, result.step, result.best) == ("stopped early", 10, 2.0)
    best = CheckpointStore(tmp_path / "checkpoints", 3).best()
    assert best is not None
    assert best.name == "step-00000004"
    again = run(Stubborn(), settings)
    assert (again.status, again.step) == ("stopped early", 10)
    longer = run(Stubborn(), toy_settings(tmp_path, steps=40, evaluate_every=2, patience=4))
    assert (longer.status, longer.step) == ("stopped early", 12)  # one more was allowed


def test_figures_that_are_no_numbers_are_never_the_best() -> None:
    best = Best()
    assert not best.take(None)
    assert not best.take(float("nan"))
    assert best.take(2.0)
    assert not best.take(2.0)
    assert (best.figure, best.stale_evaluations) == (2.0, 1)
