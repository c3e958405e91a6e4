"""Sharding changes where numbers lie, not what they are: curves, checkpoints, resume, memory."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from strategy_recipe import BlockGan, BlockRecipe, RunningRecipe, run_all
from torch import nn
from toy_recipe import ToyRecipe, logged, toy_settings

from kouji.errors import ConfigError
from kouji.train.checkpoint import CheckpointStore, export_weights, load_checkpoint
from kouji.train.distributed import World, spawn
from kouji.train.loop import run
from kouji.train.settings import RunSettings
from kouji.train.sharded_blocks import ShardedBlocks
from kouji.train.sharding import Bucket, pick_strategy
from kouji.train.stepper import Stepper

# 33 clips in batches of few: shares are uneven, and some are empty.
UNEVEN: dict[str, Any] = {"batch_seconds": 9.0, "steps": 50}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulate": {"accumulate": 2, "steps": 8},
    "checkpointing": {"checkpointing": True, "steps": 8},
    "offload": {"offload": True, "steps": 8},
    "bfloat16": {"precision": "bfloat16", "steps": 8},
    "averaged": {"ema_decay": 0.9, "ema_every": 2, "evaluate_every": 4, "steps": 8},
}


def settings(folder: Path, strategy: str, variant: str, **changes: Any) -> RunSettings:
    usual = {**UNEVEN, "strategy": strategy, **VARIANTS[variant], **changes}
    return toy_settings(folder / f"{strategy}-{variant}", **usual)


def recipe(**changes: Any) -> BlockRecipe:
    return BlockRecipe(**{"count": 33, "num_blocks": 2, **changes})


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of one process to compare with."""
    folder = tmp_path_factory.mktemp("single")
    for variant in VARIANTS:
        run(recipe(), settings(folder, "single", variant))
    return folder


def check_same(single: Path, folder: Path, strategy: str, variant: str) -> None:
    one, many = single / f"single-{variant}", folder / f"{strategy}-{variant}"
    is_half = variant == "bfloat16"
    for name in ("loss", "error") if is_half else ("loss", "error", "grad_norm"):
        expected = logged(one, name)
        assert len(expected) >= 8
        close = pytest.approx(expected, abs=2e-2 if is_half else 1e-4)
        assert logged(many, name) == close, (strategy, variant, name)
    if variant == "averaged":
        assert logged(many, kind="valid") == pytest.approx(logged(one, kind="valid"), abs=1e-5)
    last = CheckpointStore(one / "checkpoints", 1).steps()[-1].name
    for ema in (True, False):
        ours = export_weights(many / "checkpoints" / last, ema)
        for key, value in export_weights(one / "checkpoints" / last, ema).items():
            assert ours[key].dtype == value.dtype
            assert (ours[key] - value).abs().max() < (5e-2 if is_half else 1e-4), key


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_one_process_takes_any_strategy(single: Path, tmp_path: Path, strategy: str) -> None:
    for variant in VARIANTS:
        run(recipe(), settings(tmp_path, strategy, variant))
        check_same(single, tmp_path, strategy, variant)


@pytest.mark.parametrize("strategy", ["single", "zero2", "zero3"])
def test_buffers_keep_the_precision_their_module_wants(tmp_path: Path, strategy: str) -> None:
    made = RunningRecipe()
    chosen = toy_settings(tmp_path, strategy=strategy, precision="bfloat16")
    model = Stepper(made, made.build(), chosen, World()).weights.working
    assert {buffer.dtype for buffer in model.buffers()} == {torch.float32}
    assert {param.dtype for param in model.parameters()} == {torch.bfloat16}
    run(made, chosen)


def test_two_processes_follow_one_in_every_way(single: Path, tmp_path: Path) -> None:
    plans = [(strategy, variant) for strategy in ("zero2", "zero3") for variant in VARIANTS]
    plans.append(("ddp", "plain"))
    jobs: list[Any] = [(recipe(), settings(tmp_path, *plan)) for plan in plans]
    gans = ["ddp", "zero2", "zero3"]
    for name in gans:  # a GAN's losses are not weighted by frames: compared with each other
        changes = {"steps": 6, "strategy": name, "batch_size": 6, "batch_seconds": 0.0}
        jobs.append((BlockGan(count=33), toy_settings(tmp_path / f"gan-{name}", **changes)))
    ends = spawn(run_all, (jobs,), 2)
    assert ends == ["finished"] * len(jobs)
    for plan in plans:
        check_same(single, tmp_path, *plan)
    for name in gans[1:]:
        ours, ddp = logged(tmp_path / f"gan-{name}"), logged(tmp_path / "gan-ddp")
        assert len(ddp) == 6
        assert ours == pytest.approx(ddp, abs=1e-4)


HOPPING: dict[str, Any] = {"ema_decay": 0.9, "ema_every": 2, "batch_seconds": 12.0, "steps": 14}
LARGE: dict[str, Any] = {"width": 64, "num_blocks": 24, "penalty": 0.0, "count": 8}


def until(folder: Path, step: int, strategy: str) -> tuple[BlockRecipe, RunSettings]:
    """A run that is stopped after `step` and goes on where the one before it was."""
    stopping = recipe(signal_at=(step, 0, signal.SIGTERM))
    return stopping, toy_settings(folder / "hops", strategy=strategy, **HOPPING)


def large(folder: Path, strategy: str) -> tuple[BlockRecipe, RunSettings]:
    """Two steps of a network large enough to see what its buckets take."""
    chosen = toy_settings(folder / "large", strategy=strategy, steps=2, batch_seconds=12.0)
    return recipe(**LARGE), chosen


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that four processes do; starting them takes most of the time."""
    folder = tmp_path_factory.mktemp("four")
    assert run(*until(folder, 3, "single")).step == 4
    jobs: list[Any] = [
        (recipe(), settings(folder, name, "plain")) for name in ("ddp", "zero2", "zero3")
    ]
    jobs += [until(folder, 6, "zero3"), until(folder, 9, "zero2")]
    jobs += [large(folder, "zero2"), large(folder, "zero3")]
    ends = spawn(run_all, (jobs, folder / "notes"), 4)
    assert ends == ["finished"] * 3 + ["interrupted"] * 2 + ["finished"] * 2
    return folder


@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_four_processes_follow_one(single: Path, four: Path, strategy: str) -> None:
    check_same(single, four, strategy, "plain")


def test_four_processes_hold_a_share_each(four: Path, tmp_path: Path) -> None:
    run_all([large(tmp_path, "single")], tmp_path / "one")
    (alone,) = json.loads((tmp_path / "one/0.json").read_text())
    for rank in range(4):
        held = json.loads((four / f"notes/{rank}.json").read_text())[-2:]
        for part in held:
            ours, theirs = (x["gradients"] + x["moments"] for x in (part, alone))
            assert ours <= 0.30 * theirs, (rank, part, alone)
        whole = alone["masters"]  # float32 on one process: these are the working weights
        assert held[0]["working"] >= whole
        assert held[1]["working"] < 0.35 * whole


def test_checkpoint_goes_from_strategy_to_strategy(four: Path, tmp_path: Path) -> None:
    """single -> zero3 on 4 -> zero2 on 4 -> single continues the curve of one."""
    run(recipe(), toy_settings(tmp_path / "one", **HOPPING))
    parts = four / "hops"
    assert run(*until(four, 99, "single")).step == 14
    assert logged(parts) == pytest.approx(logged(tmp_path / "one"), abs=1e-4)
    last = "checkpoints/step-00000014"
    one, other = load_checkpoint(tmp_path / "one" / last), load_checkpoint(parts / last)
    assert one.ema is not None
    assert other.ema is not None
    for name in one.model:
        assert (one.model[name] - other.model[name]).abs().max() < 1e-4
        assert (one.ema[name] - other.ema[name]).abs().max() < 1e-4
    ours, theirs = other.optimizer["main"]["state"], one.optimizer["main"]["state"]
    assert ours.keys() == theirs.keys()
    for number, state in theirs.items():
        assert state.keys() == ours[number].keys()
        for key, value in state.items():
            assert ours[number][key].shape == value.shape
            assert (ours[number][key] - value).abs().max() < 1e-4, (number, key)


@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_resume_is_exact(tmp_path: Path, strategy: str, precision: str) -> None:
    changes = {"strategy": strategy, "precision": precision, "offload": precision == "float16"}
    changes |= {"steps": 12, "ema_decay": 0.9, "ema_every": 2}
    one = run(recipe(dropout=0.2), toy_settings(tmp_path / "one", **changes))
    stopping = recipe(dropout=0.2, signal_at=(6, 0, signal.SIGTERM))
    run(stopping, toy_settings(tmp_path / "parts", **changes))
    two = run(recipe(dropout=0.2), toy_settings(tmp_path / "parts", **changes))
    assert logged(tmp_path / "one") == logged(tmp_path / "parts")
    for ema in (True, False):
        ours, theirs = export_weights(two.checkpoint, ema), export_weights(one.checkpoint, ema)
        assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_blocks_are_there_only_while_they_are_used(tmp_path: Path) -> None:
    made = recipe(num_blocks=5)
    run_settings = toy_settings(tmp_path, strategy="zero3")
    stepper = Stepper(made, made.build(), run_settings, World())
    blocks = stepper.weights._blocks  # type: ignore[union-attr]
    assert isinstance(blocks, ShardedBlocks)
    most = 0

    def count(*_: Any) -> None:
        nonlocal most
        most = max(most, sum(block.is_here for block in blocks.blocks()))

    model: Any = stepper.weights.working
    for block in model.blocks[1:4]:
        block.norm.register_forward_hook(count)
        block.norm.register_full_backward_hook(count)
    with stepper.weights.passing():
        loss = model(torch.randn(2, 7, 6)).square().mean()
        # the last block is used in parts, so nobody knows when that ends
        assert [block.is_here for block in blocks.blocks()] == [False] * 4 + [True]
        stepper.updates["main"].backward(loss, 2)
    assert 1 <= most <= 3
    assert not any(block.is_here for block in blocks.blocks())
    assert all(flat.untyped_storage().nbytes() == 0 for b in blocks.blocks() for flat in b.flats)
    with stepper.evaluating() as whole:
        assert whole(torch.randn(2, 7, 6)).isfinite().all()


def test_optimiser_that_sees_matrices_is_refused(tmp_path: Path) -> None:
    class Whitening(torch.optim.Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1})

    class Own(ToyRecipe):
        def optimizers(self, model: nn.Module, _: RunSettings) -> Any:
            return Whitening(model.parameters())

    with pytest.raises(ConfigError, match=r"cannot be sharded.*Whitening.*AdamW"):
        run(Own(), toy_settings(tmp_path, strategy="zero2"))


def test_strategy_follows_the_world() -> None:
    auto = RunSettings(batch_size=1)
    assert pick_strategy(auto, World()) == "single"
    assert pick_strategy(auto, World(size=2)) == "ddp"
    with pytest.raises(ConfigError, match=r"one process.*2 processes.*ddp, zero2, zero3"):
        pick_strategy(RunSettings(batch_size=1, strategy="single"), World(size=2))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_slices_make_up_the_whole(size: int) -> None:
    params = [torch.randn(shape) for shape in [(3, 5), (), (2,), (1, 4)]]
    buckets = [Bucket(params, World(rank, size), torch.device("cpu")) for rank in range(size)]
    whole = torch.cat([bucket.master.detach() for bucket in buckets])
    assert len(whole) == buckets[0].num_all >= 22
    for param, view in buckets[0].views(whole):
        assert torch.equal(param, view)
