"""Validation figures of a run, and the count of evaluations that brought nothing better.

Process 0 computes figures on the "valid" clips in a fixed order. Knows no files and no log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch

from kouji.train.ledger import merge
from kouji.train.loader import Loader
from kouji.train.recipes import ClipDataset, Recipe, hook, metric_sums
from kouji.train.sampler import BatchSampler, Planned, Position
from kouji.train.settings import RunSettings
from kouji.train.stepper import Stepper


class Evaluator:
    """Evaluates a recipe; `make_loader(dataset, plan)` reads whole batches."""

    def __init__(
        self,
        recipe: Recipe,
        settings: RunSettings,
        stepper: Stepper,
        make_loader: Callable[[ClipDataset, Iterator[Planned]], Loader],
    ) -> None:
        self._recipe, self._settings, self._stepper = recipe, settings, stepper
        self._make_loader = make_loader
        self._valid: ClipDataset | None = None

    def figures(self, model: torch.nn.Module, step: int) -> dict[str, float]:
        """What the recipe's `evaluate` says, or the loss and metrics on validation clips."""
        if self._valid is None:
            self._valid = self._recipe.dataset("valid")
        plain = dataclasses.replace(self._settings, sample_power=0.0, seed=0)
        sampler = BatchSampler(self._valid.lengths(), plain)
        num_batches = self._settings.evaluate_batches
        plan = (p for p, _ in zip(_one_epoch(sampler), range(num_batches), strict=False))
        loader = self._make_loader(self._valid, plan)
        cast = self._stepper.cast
        batches = (cast(part[0]) for item in loader for part in item.passes if part)
        own = hook(self._recipe, "evaluate")
        try:
            if own:
                return dict(own(model, batches, self._stepper.device))
            return self._mean_loss(model, batches, step)
        finally:
            loader.close()

    def _mean_loss(
        self, model: torch.nn.Module, batches: Iterator[dict[str, Any]], step: int
    ) -> dict[str, float]:
        sums: dict[str, list[float]] = {}
        generator = torch.Generator(self._stepper.device).manual_seed(self._settings.seed)
        for batch in batches:
            loss, metrics = self._recipe.loss(model, batch, step, generator)
            num_examples = float(len(next(iter(batch.values()))))
            weight = float(metrics.pop("weight", num_examples))
            for name, value, own in metric_sums({"loss": loss, **metrics}, weight):
                total = sums.setdefault(name, [0.0, 0.0])
                total[0], total[1] = total[0] + float(value), total[1] + float(own)
        return merge([sums])


@dataclasses.dataclass
class Best:
    """The lowest figure so far and how many evaluations since brought no lower one."""

    figure: float | None = None
    stale_evaluations: int = 0

    def take(self, figure: float | None) -> bool:
        """Enter an evaluation's figure (None or NaN: it had none); whether it is the new best."""
        is_number = figure is not None and figure == figure
        if is_number and (self.figure is None or figure < self.figure):  # type: ignore[operator]
            self.figure, self.stale_evaluations = figure, 0
            return True
        self.stale_evaluations += 1
        return False


def _one_epoch(sampler: BatchSampler) -> Iterator[Planned]:
    for planned in sampler.batches(Position()):
        if planned.position.epoch:
            return
        yield planned
