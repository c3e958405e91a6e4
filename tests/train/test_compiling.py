"""Compiled regions compute what plain ones do; where nothing can be compiled, the run goes on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from strategy_recipe import BlockRecipe
from torch import Tensor, nn
from toy_recipe import toy_settings

from kouji.models.layers.shift_block import ShiftStack
from kouji.models.mini.config import MiniConfig
from kouji.train import compiling
from kouji.train.compiling import Compiled, compile_blocks, find_fault, find_regions
from kouji.train.distributed import World
from kouji.train.mini_sharpen import SharpenTrainer
from kouji.train.recompute import Recomputed, checkpoint_blocks
from kouji.train.sharded_blocks import GatheredForward
from kouji.train.stepper import Stepper


class Dropping(nn.Module):
    """A block with random numbers and running statistics."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, 2 * width)
        self.norm = nn.BatchNorm1d(2 * width)
        self.dropout = nn.Dropout(0.2)
        self.leave = nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.leave(self.dropout(self.norm(self.enter(x))).tanh())


def steps(model: nn.Module, sizes: tuple[int, ...]) -> list[Tensor]:
    """Losses, gradients and buffers over batches of several sizes."""
    seen = []
    for size in sizes:
        torch.manual_seed(size)
        model.zero_grad()
        x = torch.randn(size, 8)
        loss = model(x).square().mean()
        loss.backward()
        seen += [loss.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]
        seen += [b.clone() for b in model.buffers()]
    return seen


def assert_same_steps(model: nn.Module, sizes: tuple[int, ...], *, recompute: bool) -> None:
    other = copy.deepcopy(model)
    said: list[str] = []
    if recompute:
        checkpoint_blocks(other)
    assert "2 regions" in compile_blocks(other, dynamic=True, say=said.append)
    for one, two in zip(steps(model, sizes), steps(other, sizes), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)
    assert not said
    assert list(other.state_dict()) == list(model.state_dict())


def test_compiled_blocks_with_recomputed_activations_follow_plain_ones() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Dropping(8), Dropping(8))
    assert_same_steps(model, (6, 9), recompute=True)


@pytest.mark.slow
def test_compiled_blocks_without_checkpointing() -> None:
    torch.manual_seed(0)
    assert_same_steps(nn.Sequential(Dropping(8), Dropping(8)), (6, 9, 7), recompute=False)


@pytest.mark.slow
def test_more_variants_of_a_block_than_torch_allows_by_itself() -> None:
    dilations = tuple(range(1, 12))
    plain = ShiftStack(8, 16, dilations)
    stack, said = copy.deepcopy(plain), []
    compile_blocks(stack, dynamic=True, say=said.append)
    for frames in (13, 17):
        x, mask = torch.randn(2, frames, 8), torch.ones(2, frames, 1)
        torch.testing.assert_close(stack(x, mask), plain(x, mask))
    assert not said
    counters = torch._dynamo.utils.counters
    assert not counters["graph_break"]


def test_what_talks_to_other_processes_stays_out_of_compiled_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "find_fault", lambda _device: None)
    recipe = BlockRecipe()
    chosen = toy_settings(tmp_path, strategy="zero3", checkpointing=True, compile=True)
    model: Any = Stepper(recipe, recipe.build(), chosen, World()).weights.working
    outer = model.blocks[0].__dict__["forward"]
    assert isinstance(outer, Recomputed)
    assert isinstance(outer.inner, GatheredForward)
    assert isinstance(outer.inner.inner, Compiled)


def test_regions_are_blocks_and_networks_without() -> None:
    model = SharpenTrainer(MiniConfig(prosody_width=128), 4)
    regions = find_regions(model)
    assert "critic" in dict(regions)  # it lists single layers only
    assert len(regions) == 31 + 1
    owners = [id(inner) for _, region in regions for inner in region.modules()]
    assert len(owners) == len(set(owners)), "regions overlap"
    whole = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    assert find_regions(whole) == [("", whole)]
    pair = nn.ModuleDict({"maker": whole, "judge": nn.Linear(3, 1)})  # has no forward itself
    assert find_regions(pair) == [("maker", whole)]


def test_without_a_compiler_the_run_goes_on_and_says_so() -> None:
    import torch._inductor.config as inductor

    model = nn.Sequential(Dropping(8), Dropping(8))
    torch._dynamo.reset()  # what earlier tests compiled
    with inductor.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True}):
        line = compile_blocks(model)
    assert "the run goes on uncompiled" in line
    assert "no-such-compiler" in line
    assert "g++" in line
    assert "forward" not in model[0].__dict__
    model(torch.ones(2, 8)).sum().backward()


def failing(_function: Callable[..., Any], **_options: Any) -> Callable[..., Any]:
    def call(*_args: Any, **_kwargs: Any) -> Any:
        torch.rand(3)
        raise RuntimeError("the kernel has a fault\nand a long story")

    return call


def test_a_region_that_does_not_compile_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(Dropping(8), Dropping(8))
    model, said = copy.deepcopy(plain), []
    monkeypatch.setattr(compiling, "find_fault", lambda _device: None)
    compile_blocks(model, say=said.append)
    checkpoint_blocks(model)  # after or before makes no difference
    assert isinstance(model[0].__dict__["forward"], Recomputed)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", failing)
        found = steps(model, (6, 9))
    for one, two in zip(steps(plain, (6, 9)), found, strict=True):
        assert torch.equal(one, two)
    line = "stays uncompiled (RuntimeError: the kernel has a fault)"
    assert said == [f"compile: {number} {line}" for number in (0, 1)]  # once each, not every step


def test_copies_and_pickles_hold_their_own_region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "find_fault", lambda _device: None)
    model = nn.Sequential(Dropping(8), Dropping(8))
    compile_blocks(model)
    compile_blocks(model)  # once is enough
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        held = other[0].__dict__["forward"]
        assert isinstance(held, Compiled)
        assert held.region is other[0]
        assert held.inner is None
    with torch.no_grad():  # evaluation compiles nothing
        monkeypatch.setattr(torch, "compile", failing)
        model(torch.ones(2, 8))


def test_this_machine_can_be_asked() -> None:
    fault = find_fault(torch.device("cpu"))
    assert fault is None or "g++" in fault
