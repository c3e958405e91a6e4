"""What every recipe must do, checked on the recipe itself: used by the tests of each one.

from recipe_harness import check_recipe
check_recipe(MyRecipe(data, model, seed=0), tmp_path)
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_recipe import logged, toy_settings

from kouji.train.checkpoint import export_weights
from kouji.train.loop import run
from kouji.train.recipes import Recipe


def check_recipe(
    recipe: Recipe, folder: Path, *, steps: int = 40, gain: float = 0.7, **changes: Any
) -> None:
    """Data in order, the same model from the same seed, padding without influence, learning.

    The loss of the last steps must be below `gain` times that of the first; `changes` are
    settings of the overfitting run (over all clips of the recipe: give it a handful).
    """
    check_data(recipe)
    check_build(recipe)
    check_loss(recipe)
    check_learning(recipe, folder / "learn", steps, gain, **changes)
    check_resume(recipe, folder / "resume", **changes)


def check_data(recipe: Recipe) -> None:
    """Lengths and paths for every clip."""
    dataset = recipe.dataset("train")
    lengths = dataset.lengths()
    assert len(dataset) == len(lengths) > 0
    assert all(seconds > 0 for seconds in lengths)
    assert all(isinstance(dataset.path(i), str) for i in range(len(dataset)))


def check_build(recipe: Recipe) -> None:
    """The seed decides the weights."""
    first, again = _model(recipe, 3), _model(recipe, 3)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def check_loss(recipe: Recipe, *, tolerance: float = 1e-4) -> None:
    """The loss of two clips is the weighted mean of their own: what DDP and accumulation need."""
    model = _model(recipe, 0).eval()
    dataset = recipe.dataset("train")
    by_length = sorted(range(len(dataset)), key=lambda i: dataset.lengths()[i])
    examples = [dataset[by_length[0]], dataset[by_length[-1]]]
    whole, weight = _loss(recipe, model, examples)
    parts = [_loss(recipe, model, [example]) for example in examples]
    mean = sum(loss * share for loss, share in parts) / sum(share for _, share in parts)
    assert sum(share for _, share in parts) == pytest.approx(weight)
    assert whole == pytest.approx(mean, rel=tolerance)


def check_learning(recipe: Recipe, folder: Path, steps: int, gain: float, **changes: Any) -> None:
    """Some steps over few clips bring the loss down."""
    run(recipe, dataclasses.replace(toy_settings(folder, steps=steps), **changes))
    losses = logged(folder)
    edge = max(len(losses) // 8, 1)
    assert sum(losses[-edge:]) < gain * sum(losses[:edge])


def check_resume(recipe: Recipe, folder: Path, **changes: Any) -> None:
    """Stopped and resumed is the same as not stopped, bit for bit."""
    settings = dataclasses.replace(toy_settings(folder / "whole", steps=4), **changes)
    whole = run(recipe, settings)
    parts = dataclasses.replace(settings, out=str(folder / "parts"))
    run(recipe, dataclasses.replace(parts, stop_after_seconds=1e-9))
    resumed = run(recipe, parts)
    assert logged(folder / "whole") == logged(folder / "parts")
    weights = export_weights(whole.checkpoint)
    for name, value in export_weights(resumed.checkpoint).items():
        assert torch.equal(value, weights[name]), name


def _model(recipe: Recipe, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return recipe.build().float()


def _loss(recipe: Recipe, model: nn.Module, examples: list[Any]) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(0)
    batch = recipe.collate(examples)
    loss, metrics = recipe.loss(model, batch, 0, generator)
    assert loss.ndim == 0
    assert loss.isfinite()
    weight = float(torch.as_tensor(metrics.pop("weight", len(examples))).detach())
    assert weight > 0
    assert all(torch.as_tensor(value).isfinite().all() for value in metrics.values())
    return float(loss.detach()), weight
