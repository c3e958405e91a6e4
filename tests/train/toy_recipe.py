"""A recipe of a few hundred weights with everything a real one has: padding, masks, weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kouji.errors import DataError


class ToyClips:
    """Clips of random features (frames, 6); the target is a fixed function of the input."""

    def __init__(self, count: int, seed: int, bad: tuple[int, ...] = ()) -> None:
        rng = np.random.default_rng(seed)
        self.bad = bad
        self.frames = rng.integers(5, 40, count)
        self.clips = [rng.standard_normal((n, 6)).astype(np.float32) for n in self.frames]
        self.targets = [np.tanh(clip[:, :3] * 2 - clip[:, 3:]) for clip in self.clips]

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
    name = "toy"

    def __init__(
        self,
        *,
        count: int = 32,
        width: int = 16,
        dropout: float = 0.0,
        bad: tuple[int, ...] = (),
        poison: tuple[int, ...] = (),
        name: str = "toy",
    ) -> None:
        """poison: steps whose loss is NaN."""
        self.name, self.width, self.dropout, self.poison = name, width, dropout, poison
        self.count, self.bad = count, bad

    def build(self) -> nn.Module:
        return ToyNet(self.width, self.dropout)

    def dataset(self, split: str) -> ToyClips:
        if split == "train":
            return ToyClips(self.count, 1, self.bad)
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
        self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float | Tensor]]:
        mask = batch["mask"].float()
        error = (model(batch["x"]).float() - batch["y"].float()).square().mean(-1)
        frames = mask.sum()
        loss = (error * mask).sum() / frames
        if step in self.poison:
            loss = loss * float("nan")
        return loss, {"weight": frames, "error": loss.detach().sqrt()}
