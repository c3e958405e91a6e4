"""A recipe of a few hundred weights with everything a real one has: padding, masks, weights."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kouji.errors import DataError, TrainingError
from kouji.train.distributed import join, leave
from kouji.train.loop import run
from kouji.train.settings import RunSettings
from kouji.train.stepper import StepContext


class ToyClips:
    """Clips of random features (frames, 6); the target is a fixed function of the input."""

    def __init__(
        self, count: int, seed: int, bad: tuple[int, ...] = (), poison: tuple[int, ...] = ()
    ) -> None:
        rng = np.random.default_rng(seed)
        self.bad = bad
        self.frames = rng.integers(5, 40, count)
        self.clips = [rng.standard_normal((n, 6)).astype(np.float32) for n in self.frames]
        self.targets = [np.tanh(clip[:, :3] * 2 - clip[:, 3:]) for clip in self.clips]
        for index in poison:
            self.clips[index][0, 0] = np.nan

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Any:
        if index in self.bad:
            raise DataError("clip is broken", seen=index)
        return self.clips[index], self.targets[index]

    def lengths(self) -> list[float]:
        return [float(n) / 10 for n in self.frames]

    def path(self, index: int) -> str:
        return f"clips/{index:03d}.wav"


class ToyNet(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(6, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.outer = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.dropout(torch.nn.functional.silu(self.norm(self.inner(x))))
        return self.outer(hidden)


class ToyRecipe:
    """What goes wrong is chosen by arguments.

    bad: clips that raise; poison: clips holding a NaN; nan_steps: steps whose loss is NaN;
    blow_up: from this step on the loss grows; signal_at: (step, rank, signal) to send to itself.
    """

    def __init__(
        self,
        *,
        count: int = 32,
        width: int = 16,
        dropout: float = 0.0,
        bad: tuple[int, ...] = (),
        poison: tuple[int, ...] = (),
        nan_steps: tuple[int, ...] = (),
        blow_up: int | None = None,
        signal_at: tuple[int, int, int] | None = None,
        name: str = "toy",
    ) -> None:
        self.name, self.width, self.dropout = name, width, dropout
        self.count, self.bad, self.poison = count, bad, poison
        self.nan_steps, self.blow_up, self.signal_at = nan_steps, blow_up, signal_at

    def build(self) -> nn.Module:
        return ToyNet(self.width, self.dropout)

    def dataset(self, split: str) -> ToyClips:
        if split == "train":
            return ToyClips(self.count, 1, self.bad, self.poison)
        return ToyClips(8, 2)

    def collate(self, examples: list[Any]) -> dict[str, Tensor]:
        longest = max(len(x) for x, _ in examples)
        batch = {
            "x": torch.zeros(len(examples), longest, 6),
            "y": torch.zeros(len(examples), longest, 3),
            "mask": torch.zeros(len(examples), longest),
        }
        for row, (x, y) in enumerate(examples):
            batch["x"][row, : len(x)] = torch.from_numpy(x)
            batch["y"][row, : len(x)] = torch.from_numpy(y)
            batch["mask"][row, : len(x)] = 1
        return batch

    def loss(
        self,
        model: nn.Module,
        batch: dict[str, Tensor],
        step: int,
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, float | Tensor]]:
        if self.signal_at and self.signal_at[:2] == (step, int(os.environ.get("RANK", "0"))):
            number, self.signal_at = self.signal_at[2], None  # a step may have several passes
            os.kill(os.getpid(), number)
        mask = batch["mask"].float()
        error = (model(batch["x"]).float() - batch["y"].float()).square().mean(-1)
        frames = mask.sum()
        loss = (error * mask).sum() / frames
        if step in self.nan_steps:
            loss = loss * float("nan")
        if self.blow_up is not None and step >= self.blow_up:
            loss = loss * 1000
        return loss, {"weight": frames, "error": (error.detach() * mask).sum() / frames}


class NamedRecipe(ToyRecipe):
    """Built as recipes of the registry are."""

    config: Any = None

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        super().__init__(count=data["count"], width=model.get("width", 4))
        self.seed = seed


class ToyGan(ToyRecipe):
    """Two networks with an optimiser each, stepped by the recipe itself."""

    def build(self) -> nn.Module:
        judge = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))
        return nn.ModuleDict({"maker": ToyNet(self.width, 0.0), "judge": judge})

    def optimizers(self, model: Any, settings: RunSettings) -> dict[str, torch.optim.Optimizer]:
        return {
            name: torch.optim.AdamW(model[name].parameters(), lr=settings.learning_rate, fused=True)
            for name in ("judge", "maker")
        }

    def training_step(
        self,
        context: StepContext,
        batch: dict[str, Tensor],
        step: int,
        generator: torch.Generator,
    ) -> dict[str, float | Tensor]:
        model: Any = context.model
        made = model["maker"](batch["x"])
        real, fake = model["judge"](batch["y"]), model["judge"](made.detach())
        context.minimise((1 - real).square().mean() + fake.square().mean(), "judge")
        distance = (made - batch["y"]).square().mean()
        adversarial = (1 - model["judge"](made)).square().mean()
        context.minimise(distance + 0.01 * adversarial, "maker")
        return {"distance": distance, "adversarial": adversarial}


def toy_settings(folder: Path, **changes: Any) -> RunSettings:
    """Settings for some quick steps."""
    usual: dict[str, Any] = {
        "out": str(folder),
        "steps": 12,
        "batch_seconds": 12.0,
        "learning_rate": 1e-2,
        "log_every": 1,
        "tensorboard": False,
        "threads": 1,
    }
    return RunSettings(**{**usual, **changes})


def logged(folder: Path, name: str = "loss", kind: str = "train") -> list[float]:
    """The logged values of a run, in order."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return [record[name] for record in records if record["kind"] == kind]


def stop_and_fail(folder: Path) -> None:
    """What each process of the distributed test does, one after another.

    A run that is stopped; one with too many bad clips; one whose processes see unlike folders, as
    machines that share none would; at last process 1 fails, and process 0 hears that it is gone.
    """
    world = join("cpu")
    stopping = ToyRecipe(signal_at=(5, 1, signal.SIGTERM))
    result = run(stopping, toy_settings(folder / "stop", steps=1000))
    told = [f"{result.status} {result.step}"]
    for recipe, out in ((ToyRecipe(bad=tuple(range(20))), "bad"), (ToyRecipe(), f"{world.rank}")):
        try:
            run(recipe, toy_settings(folder / out))
        except TrainingError as error:
            told.append(str(error))
    (folder / f"end-{world.rank}").write_text("\n".join(told))
    if world.rank == 1:
        raise DataError("a disk of machine 1 is missing")
    world.gather(None)


if __name__ == "__main__":  # torchrun starts it in the distributed test
    run(ToyRecipe(count=33), toy_settings(Path(sys.argv[1]), batch_seconds=9.0))
    leave(0)
