"""The loop knows how long it waited for data, and data is the same however a run was cut."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toy_recipe import ToyClips, ToyRecipe, logged, toy_settings

from kouji.train import ledger as ledger_module
from kouji.train.distributed import World, join, spawn
from kouji.train.ledger import Ledger
from kouji.train.loop import run


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_input_wait_is_the_share_of_the_time_that_was_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(ledger_module, "time", clock)
    ledger = Ledger()
    for _ in range(4):
        with ledger.waiting():
            clock.now += 0.5
        clock.now += 1.5
    clock.now += 10.0
    ledger.leave_out(10.0)  # an evaluation is no part of a step
    values, seconds = ledger.close(World())
    assert seconds == 8.0
    assert values["input_wait"] == 0.25
    clock.now += 1.0
    assert ledger.close(World())[0]["input_wait"] == 0.0  # each interval by itself


def test_a_run_logs_its_input_wait(tmp_path: Path) -> None:
    run(ToyRecipe(), toy_settings(tmp_path, steps=3))
    shares = logged(tmp_path, "input_wait")
    assert len(shares) == 3
    assert all(0 <= share <= 1 for share in shares)


class NamedClips(ToyClips):
    """Clips that know their number, and crops of them that are drawn."""

    def example(self, index: int, rng: Any) -> Any:
        clip, target = self[index]
        first = int(rng.integers(0, 3))
        return index, first, clip[first:], target[first:]


class NamingRecipe(ToyRecipe):
    """Writes down which clips and crops each step of each process was trained on."""

    def __init__(self, folder: Path) -> None:
        super().__init__(count=33)
        self.folder = folder

    def dataset(self, split: str) -> NamedClips:
        return NamedClips(self.count, 1)

    def collate(self, examples: list[Any]) -> dict[str, Tensor]:
        batch = super().collate([(x, y) for _, _, x, y in examples])
        return {**batch, "clips": torch.tensor([[index, first] for index, first, _, _ in examples])}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: Any) -> Any:
        self.folder.mkdir(exist_ok=True)
        rank = os.environ.get("RANK", "0")
        dataset = self.dataset("train")
        seen = [(dataset.path(index), first) for index, first in batch.pop("clips").tolist()]
        with (self.folder / f"{rank}.jsonl").open("a") as file:
            file.write(json.dumps([step, seen]) + "\n")
        return super().loss(model, batch, step, generator)


def names(folder: Path) -> dict[int, list[Any]]:
    """(path, crop) of each step over all processes; a step must not be taken twice."""
    steps: dict[int, list[Any]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert len({step for step, _ in lines}) == len(lines)
        for step, seen in lines:
            steps.setdefault(step, []).extend(tuple(clip) for clip in seen)
    return {step: sorted(seen) for step, seen in sorted(steps.items())}


def stop_mid_epoch_and_go_on(folder: Path) -> None:
    """What each of several processes does: a run that pauses, and goes on."""
    world = join("cpu")
    settings = toy_settings(folder / "run", steps=23, batch_seconds=9.0)
    for stop in (1e-9, 1e-9, 1e-9, 0.0):  # three runs of one step each, then the rest
        run(NamingRecipe(folder / "names"), dataclasses.replace(settings, stop_after_seconds=stop))
    assert world.size == 2


def test_a_stopped_run_goes_on_with_exactly_the_batches_it_would_have_had(tmp_path: Path) -> None:
    whole = toy_settings(tmp_path / "whole", steps=23, batch_seconds=9.0)
    run(NamingRecipe(tmp_path / "names"), whole)
    again = dataclasses.replace(whole, out=str(tmp_path / "again"))
    for steps in (7, 16, 23):
        run(NamingRecipe(tmp_path / "other"), dataclasses.replace(again, steps=steps))
    expected = names(tmp_path / "names")
    assert list(expected) == list(range(23))
    assert names(tmp_path / "other") == expected
    epoch = [path for step in range(23) for path, _ in expected[step]][:33]
    assert sorted(epoch) == sorted(ToyClips(33, 1).path(index) for index in range(33))
    spawn(stop_mid_epoch_and_go_on, (tmp_path / "two",), 2)
    assert names(tmp_path / "two" / "names") == expected
