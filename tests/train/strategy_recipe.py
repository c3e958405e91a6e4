"""A small network of blocks used in every way a recipe may, and runs of it in several processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from toy_recipe import ToyGan, ToyRecipe

from kouji.train import loop
from kouji.train.distributed import join
from kouji.train.settings import RunSettings
from kouji.train.stepper import Stepper


class ToyBlock(nn.Module):
    """Pre-norm residual; `scale` is a parameter of the block itself, not of a layer in it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = nn.functional.silu(self.wide(self.norm(x)))
        return x + self.scale * self.narrow(inner)


class BlockNet(nn.Module):
    """Blocks called whole, twice, in part and not at all, and a parameter of one read directly."""

    def __init__(self, width: int, num_blocks: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(6, width), nn.Linear(width, 3)
        self.blocks = nn.ModuleList(ToyBlock(width) for _ in range(num_blocks))
        self.unused = nn.Parameter(torch.ones(5))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        for block in self.blocks[:-1]:  # the last one is not called as a block
            y = block(y)
        y = self.blocks[0](y)
        last: Any = self.blocks[-1]
        y = y + nn.functional.linear(y, last.wide.weight).tanh() @ last.wide.weight
        y = y + last.narrow(last.wide(y))
        return self.outer(y)


class BlockRecipe(ToyRecipe):
    """Its penalty walks over all parameters within the loss."""

    def __init__(self, *, num_blocks: int = 4, penalty: float = 1e-4, **changes: Any) -> None:
        super().__init__(**changes)
        self.num_blocks, self.penalty = num_blocks, penalty

    def build(self) -> nn.Module:
        return BlockNet(self.width, self.num_blocks)

    def loss(self, model: nn.Module, *rest: Any) -> tuple[Tensor, dict[str, Any]]:
        loss, metrics = super().loss(model, *rest)
        if self.penalty:
            loss = loss + self.penalty * sum(p.float().square().sum() for p in model.parameters())
        return loss, metrics


class Running(nn.Module):
    """A block with a running mean that stays float32, as the classifier's BatchNorm."""

    mean: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width)
        self.register_buffer("mean", torch.zeros(width))

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        kept = self.mean.clone()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.mean = kept.to(self.mean.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            self.mean.lerp_(x.detach().float().mean((0, 1)), 0.1)
        return x + self.outer(self.inner(x).tanh())


class RunningRecipe(ToyRecipe):
    """Blocks that keep a buffer in their own precision."""

    def build(self) -> nn.Module:
        width = self.width
        blocks = [Running(width), Running(width)]
        return nn.Sequential(nn.Linear(6, width), *blocks, nn.Linear(width, 3))


class BlockGan(ToyGan):
    """The maker has blocks."""

    def build(self) -> nn.Module:
        model: Any = super().build()
        model["maker"] = BlockNet(self.width, 3)
        return model


def run_all(jobs: list[tuple[Any, RunSettings]], notes: Path | None = None) -> list[str]:
    """Runs one after another in this process; the bytes each held go to `notes`, by rank."""
    held: list[dict[str, int]] = []
    steppers: list[Stepper] = []

    class Noted(Stepper):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            steppers.append(self)

    ends = []
    world = join("cpu")  # one group for all runs
    usual, loop.Stepper = loop.Stepper, Noted  # type: ignore[misc]
    try:
        for recipe, settings in jobs:
            ends.append(loop.run(recipe, settings).status)
            held.append(steppers[-1].memory_bytes())
    finally:
        loop.Stepper = usual  # type: ignore[misc]
        world.close()
    if notes is not None:
        notes.mkdir(parents=True, exist_ok=True)
        (notes / f"{world.rank}.json").write_text(json.dumps(held))
    return ends


def with_changes(settings: RunSettings, **changes: Any) -> RunSettings:
    return dataclasses.replace(settings, **changes)
