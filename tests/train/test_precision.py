"""Updates: masters, skipped steps, clipping, and averaging over passes of unlike weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from kouji.train.distributed import World
from kouji.train.precision import Update, Weights


def make(
    precision: str = "float32", clip_norm: float = 0.0, optimizer: Any = torch.optim.SGD
) -> Any:
    torch.manual_seed(0)
    weights = Weights(nn.Linear(4, 2), precision)
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "float16", init_scale=64.0)
    made = optimizer(weights.master.parameters(), lr=0.1)
    return weights, Update(made, weights, scaler, World(), clip_norm)


def losses(model: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    return model(rows.to(next(model.parameters()).dtype)).float().square().mean(-1)


def test_passes_of_unlike_weight_average_to_the_whole() -> None:
    rows = torch.randn(7, 4)
    whole, one = make()
    parts, many = make()
    one.backward(losses(whole.working, rows).mean(), 7)
    applied = one.apply(1.0)
    for shard in (rows[:4], rows[4:5], rows[5:]):
        many.backward(losses(parts.working, shard).mean(), len(shard))
    split = many.apply(1.0)
    assert applied.loss.item() == pytest.approx(split.loss.item())
    assert applied.norm.item() == pytest.approx(split.norm.item())
    assert torch.allclose(whole.master.weight, parts.master.weight, atol=1e-7)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_masters_move_by_less_than_half_precision_can_show(precision: str) -> None:
    weights, update = make(precision)
    before = weights.master.weight.detach().clone()
    for _ in range(3):
        update.backward(losses(weights.working, torch.randn(5, 4)).mean(), 5)
        update.apply(1e-4)
        update.scaler.update()
    moved = (weights.master.weight - before).abs().max()
    assert 0 < moved < 1e-4
    assert weights.master.weight.dtype is torch.float32
    assert torch.equal(weights.working.weight, weights.master.weight.to(weights.dtype))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_step_that_is_not_finite_is_skipped(precision: str, optimizer: Any) -> None:
    weights, update = make(precision, 1.0, optimizer)
    before = weights.master.weight.detach().clone()
    update.backward(losses(weights.working, torch.full((2, 4), torch.inf)).mean(), 2)
    applied = update.apply(1.0)
    assert not applied.is_finite
    assert torch.equal(weights.master.weight, before)
    update.scaler.update()
    update.backward(losses(weights.working, torch.ones(2, 4)).mean(), 2)
    assert update.apply(1.0).is_finite
    assert not torch.equal(weights.master.weight, before)


def test_fused_step_is_skipped_without_counting() -> None:
    def fused(params: Any, lr: float) -> Any:
        return torch.optim.AdamW(params, lr=lr, fused=True)

    weights, update = make("float32", 1.0, fused)
    update.backward(losses(weights.working, torch.full((2, 4), torch.nan)).mean(), 2)
    assert not update.apply(1.0).is_finite
    assert weights.master.weight.isfinite().all()
    assert update.optimizer.state[weights.master.weight]["step"] == 0
    assert update.optimizer.state[weights.master.weight]["exp_avg"].eq(0).all()


def test_update_without_any_example_is_no_step() -> None:
    weights, update = make(optimizer=torch.optim.AdamW)
    before = weights.master.weight.detach().clone()
    applied = update.apply(1.0)
    assert applied.is_empty
    assert torch.equal(weights.master.weight, before)


def test_clipping_limits_the_step_and_reports_the_norm_before() -> None:
    weights, update = make(clip_norm=0.5)
    before = weights.master.weight.detach().clone(), weights.master.bias.detach().clone()
    update.backward(1000 * losses(weights.working, torch.randn(5, 4)).mean(), 5)
    norm = update.apply(1.0).norm
    assert norm > 100
    moved = [weights.master.weight - before[0], weights.master.bias - before[1]]
    assert torch.nn.utils.get_total_norm(moved).item() == pytest.approx(0.1 * 0.5, rel=1e-4)


def test_batch_is_cast_but_for_named_and_whole_numbers() -> None:
    weights, _ = make("bfloat16")
    batch = {
        "mel": torch.ones(2),
        "f0": torch.ones(2),
        "ids": torch.ones(2, dtype=torch.int64),
        "n": 3,
    }
    cast = weights.cast(batch, torch.device("cpu"), ("f0",))
    assert cast["mel"].dtype is torch.bfloat16
    assert cast["f0"].dtype is torch.float32
    assert cast["ids"].dtype is torch.int64
    assert cast["n"] == 3


def test_buffers_of_training_reach_the_master() -> None:
    weights = Weights(nn.BatchNorm1d(4), "bfloat16")
    weights.working(torch.randn(8, 4, dtype=torch.bfloat16) + 5)
    weights.collect_buffers()
    running: Any = weights.master.running_mean
    assert running.mean() > 0.3
    assert running.dtype is torch.float32
