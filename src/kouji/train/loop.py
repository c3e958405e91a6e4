"""The training loop: batches in, updates out, and everything that keeps a long run safe.

A run is a function of its settings and the step number, so a resumed run takes the same steps as
one that was never stopped. Plain torch; knows no model, no data and no terminal.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kouji.errors import TrainingError
from kouji.train.checkpoint import CheckpointStore, check_compatible, start_from
from kouji.train.distributed import World, is_launched, join, pick_device, spawn
from kouji.train.guard import LossGuard
from kouji.train.ledger import Ledger, Outcome, merge
from kouji.train.loader import BadClips, Loader
from kouji.train.monitor import Monitor
from kouji.train.recipes import ClipDataset, Recipe, hook, metric_sums, recipe_name
from kouji.train.sampler import BatchSampler, Planned, Position
from kouji.train.schedule import learning_rate_factor
from kouji.train.settings import RunSettings
from kouji.train.stepper import Stepper
from kouji.train.stopping import Stop, caught_signals


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    status:     "finished", "paused" (stop_after_seconds) or "interrupted" (by `signal`)
    step:       optimiser steps done in all
    best:       the lowest validation figure so far
    checkpoint: the last one written
    """

    status: str
    step: int
    best: float | None
    checkpoint: Path
    signal: int | None = None


def run(recipe: Recipe, settings: RunSettings) -> RunResult:
    """Train until `settings.steps`, going on from the last checkpoint in `settings.out` if any.

    Collective: under torchrun every process calls it; without torchrun `devices` processes are
    started here (the recipe must then pickle). Raises TrainingError when the run has to
    stop (not finite, diverged, too many bad clips, checkpoints of something else) and ConfigError
    for settings this machine or recipe cannot follow.
    """
    if settings.devices > 1 and not is_launched():
        result = spawn(run, (recipe, settings), settings.devices)
        assert isinstance(result, RunResult)
        return result
    if settings.threads:
        torch.set_num_threads(settings.threads)
    world = join(settings.device)
    try:
        with caught_signals() as stop:
            return _Run(recipe, settings, world).train(stop)
    except OSError as error:
        raise TrainingError(
            "a file of the run cannot be used",
            seen=f"{error.filename or settings.out}: {error.strerror or error}",
            cure=f"check {settings.out}: it must be a folder with room and write access",
        ) from error
    finally:
        world.close()


class _Run:
    """State of one run in one process."""

    def __init__(self, recipe: Recipe, settings: RunSettings, world: World) -> None:
        self.recipe, self.settings, self.world = recipe, settings, world
        out = Path(settings.out)
        out.mkdir(parents=True, exist_ok=True)
        self.monitor = Monitor(settings, is_active=world.is_main)
        self.store = CheckpointStore(out / "checkpoints", settings.keep_last)
        self.bad_clips = BadClips(out / "bad_clips.txt")
        self.guard, self.ledger = LossGuard(settings), Ledger()
        self.step, self.trained_seconds = 0, 0.0
        self.best: float | None = None
        self.saved: Path | None = None
        self.position = Position()
        self.stepper = self._build()
        self.device = self.stepper.device
        self.dataset = recipe.dataset("train")
        self.valid: ClipDataset | None = None
        self.sampler = BatchSampler(self.dataset.lengths(), settings)
        self._resume()

    # --- preparation

    def _build(self) -> Stepper:
        torch.manual_seed(self.settings.seed)
        model = self.recipe.build().float().to(pick_device(self.settings.device, self.world))
        if self.settings.init_from:
            self.monitor.say(start_from(model, self.settings.init_from))
        self.world.share_weights([*model.parameters(), *model.buffers()])
        return Stepper(self.recipe, model, self.settings, self.world)

    def _loader(
        self, dataset: ClipDataset, plan: Iterator[Planned], parts: list[int], num_parts: int
    ) -> Loader:
        return Loader(
            self.recipe,
            dataset,
            plan,
            seed=self.settings.seed,
            parts=parts,
            num_parts=num_parts,
            num_workers=self.settings.num_workers,
            bad_clips=self.bad_clips,
            pin=self.device.type == "cuda",
        )

    def _resume(self) -> None:
        found = self.store.load_last()
        if found is None:
            return
        snapshot, path, faults = found
        state = snapshot.state
        for fault in faults:
            self.monitor.say(fault)
        if state["recipe"] != recipe_name(self.recipe):
            raise TrainingError(
                f"{path} belongs to another recipe",
                seen=recipe_name(self.recipe),
                allowed=state["recipe"],
                cure="use another out folder",
            )
        check_compatible(self.stepper.weights.master, snapshot.model, str(path))
        self.stepper.restore(snapshot, str(path))
        self.step, self.best, self.saved = state["step"], state["best"], path
        self.trained_seconds = state["trained_seconds"]
        self._restore_position(state["sampler"])
        self.monitor.say(f"resumed from {path} at step {self.step}")

    def _restore_position(self, saved: dict[str, Any]) -> None:
        if saved["fingerprint"] == self.sampler.fingerprint():
            self.position = Position(saved["epoch"], saved["batch"])
        else:
            self.position = Position(saved["epoch"] + 1, 0)
            self.monitor.say("data, seed or batching changed: going on with a new epoch")

    # --- the loop

    def train(self, stop: Stop) -> RunResult:
        """Take all remaining steps; always leaves the loader and monitor closed."""
        world, passes = self.world, self.settings.accumulate
        parts = [world.rank + world.size * number for number in range(passes)]
        plan = self.sampler.batches(self.position)
        loader = self._loader(self.dataset, plan, parts, world.size * passes)
        self.monitor.begin(self.step)
        self.ledger.begin()
        self._started = self._last_save = time.monotonic()
        try:
            return self._end(self._take_steps(loader, stop), stop)
        finally:
            loader.close()
            self.monitor.close()

    def _take_steps(self, loader: Loader, stop: Stop) -> str:
        run, batches = self.settings, iter(loader)
        while self.step < run.steps:
            loaded = next(batches)
            self.stepper.take(loaded, self.step, self.ledger)
            where = loaded.planned.position
            self.position, self.step = Position(where.epoch, where.batch + 1), self.step + 1
            self._settle(is_forced=self.device.type != "cuda")
            if self.step % run.log_every == 0:
                self._log()
            if run.evaluate_every and self.step % run.evaluate_every == 0:
                self._evaluate()
            if run.samples_every and self.step % run.samples_every == 0:
                self._show_samples()
            status = self._agree(stop)
            if status:
                return status
        return "finished"

    def _end(self, status: str, stop: Stop) -> RunResult:
        self._settle()
        if self.saved is None or self.saved.name != f"step-{self.step:08d}":
            self._save()
        checkpoint = self.saved or self.store.folder / f"step-{self.step:08d}"
        best = "" if self.best is None else f", best {self.best:.4g}"
        self.monitor.say(f"{status} at step {self.step}{best}, saved {checkpoint}")
        if len(self.bad_clips):
            self.monitor.say(f"{len(self.bad_clips)} clips were left out: {self.bad_clips.file}")
        number = stop.number if status == "interrupted" else None
        return RunResult(status, self.step, self.best, checkpoint, number)

    # --- looking at what happened

    def _settle(self, *, is_forced: bool = True) -> None:
        """Fetch the outcome of pending steps and let the guard judge them."""
        for outcome in self.ledger.settle(is_forced=is_forced):
            # In float16 an overflow of the gradients is answered by a lower scale.
            is_finite = outcome.is_finite or self.stepper.scaler.is_enabled()
            self._judge(outcome, is_finite and math.isfinite(outcome.loss))

    def _judge(self, outcome: Outcome, is_finite: bool) -> None:
        indices = () if is_finite else outcome.planned.indices
        clips = [self.dataset.path(index) for index in indices]
        shown = ", ".join(clips[:8]) + (" ..." if len(clips) > 8 else "")
        try:
            is_taken = self.guard.judge(outcome.step, outcome.loss, is_finite, shown)
        except TrainingError as error:
            if self.saved is None and not outcome.is_finite:
                self._save()  # no update took a step that was not finite: these weights are good
            last = self.saved or "none was written yet"
            cure = f"last good checkpoint: {last}"
            raise TrainingError(
                error.what, seen=error.seen, allowed=error.allowed, cure=cure
            ) from error
        if is_taken:
            self.ledger.add_loss(outcome)
        else:
            step, loss = outcome.step, outcome.loss
            self.monitor.say(f"step {step} was skipped: loss {loss}, clips {shown}")
            self.monitor.skipped(step, loss, clips)

    def _log(self) -> None:
        self._settle()
        values, seconds = self.ledger.close(self.world)
        self.trained_seconds += seconds
        factor = learning_rate_factor(self.step - 1, self.settings)
        values["learning_rate"] = self.settings.learning_rate * factor
        values["trained_seconds"] = self.trained_seconds
        self.monitor.scalars(self.step, values)
        shown = {name: values[name] for name in ("loss", "grad_norm", "audio_per_second")}
        self.monitor.tick(self.step, shown)

    def _agree(self, stop: Stop) -> str | None:
        """Let all processes decide the same: stop, pause, save, too many bad clips."""
        run, now = self.settings, time.monotonic()
        is_main = self.world.is_main
        wants = [
            int(stop.number is not None),
            int(is_main and 0 < run.stop_after_seconds <= now - self._started),
            int(is_main and now - self._last_save >= run.save_every_seconds),
            len(self.bad_clips),
        ]
        stopping, pausing, saving, num_bad = self.world.sum_counts(wants)
        self._check_bad_clips(num_bad)
        self.monitor.tick(self.step)
        if stopping or pausing:
            return "interrupted" if stopping else "paused"
        if saving:
            self._settle()
            if not self.guard.is_diverging:
                self._save()
        return None

    def _check_bad_clips(self, num_bad: int) -> None:
        allowed = self.settings.max_bad_fraction
        if num_bad > allowed * self.sampler.num_usable:
            raise TrainingError(
                "too many clips cannot be used",
                seen=f"{num_bad} of {self.sampler.num_usable}",
                allowed=f"{allowed:.1%} (max_bad_fraction)",
                cure=f"see {self.bad_clips.file}",
            )

    # --- evaluation

    @contextmanager
    def _evaluating(self) -> Iterator[torch.nn.Module]:
        """The working model with averaged weights, in evaluation mode; its time does not count."""
        started, model, ema = time.monotonic(), self.stepper.weights.working, self.stepper.ema
        model.eval()
        torch.manual_seed(self.settings.seed)
        try:
            with torch.no_grad(), ema.applied_to(model) if ema else nullcontext():
                yield model
        finally:
            model.train()
            self.ledger.leave_out(time.monotonic() - started)

    def _evaluate(self) -> None:
        """Process 0 evaluates, the others wait at the next agreement."""
        self._settle()
        if not self.world.is_main:
            return
        with self._evaluating() as model:
            figures = self._figures(model)
        self.monitor.scalars(self.step, figures, kind="valid")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.monitor.say(f"step {self.step} valid: {shown}")
        figure = figures.get(hook(self.recipe, "best_metric") or "loss")
        if figure is not None and figure == figure and (self.best is None or figure < self.best):
            self.best = figure
            self._save()
            self.store.mark_best(self.step, figure)

    def _figures(self, model: torch.nn.Module) -> dict[str, float]:
        run = self.settings
        if self.valid is None:
            self.valid = self.recipe.dataset("valid")
        dataset = self.valid
        plain = dataclasses.replace(run, sample_power=0.0, seed=0)
        sampler = BatchSampler(dataset.lengths(), plain)
        plan = (p for p, _ in zip(_one_epoch(sampler), range(run.evaluate_batches), strict=False))
        loader = self._loader(dataset, plan, [0], 1)
        batches = (self.stepper.cast(part[0]) for item in loader for part in item.passes if part)
        own = hook(self.recipe, "evaluate")
        try:
            if own:
                return dict(own(model, batches, self.device))
            return self._mean_loss(model, batches)
        finally:
            loader.close()

    def _mean_loss(
        self, model: torch.nn.Module, batches: Iterator[dict[str, Any]]
    ) -> dict[str, float]:
        """The default evaluation: the recipe's loss and metrics on validation clips."""
        sums: dict[str, list[float]] = {}
        generator = torch.Generator(self.device).manual_seed(self.settings.seed)
        for batch in batches:
            loss, metrics = self.recipe.loss(model, batch, self.step, generator)
            num_examples = float(len(next(iter(batch.values()))))
            weight = float(metrics.pop("weight", num_examples))
            for name, value, own in metric_sums({"loss": loss, **metrics}, weight):
                total = sums.setdefault(name, [0.0, 0.0])
                total[0], total[1] = total[0] + float(value), total[1] + float(own)
        return merge([sums])

    def _show_samples(self) -> None:
        show = hook(self.recipe, "samples")
        if show and self.world.is_main:
            with self._evaluating() as model:
                show(model, self.monitor, self.step)

    # --- checkpoints

    def _save(self) -> None:
        self._last_save = time.monotonic()
        if not self.world.is_main:
            return
        state = {
            "recipe": recipe_name(self.recipe),
            "config": hook(self.recipe, "config"),
            "settings": dataclasses.asdict(self.settings),
            "sampler": {
                "fingerprint": self.sampler.fingerprint(),
                "epoch": self.position.epoch,
                "batch": self.position.batch,
            },
            "best": self.best,
            "trained_seconds": self.trained_seconds,
            "torch": torch.__version__,
        }
        self.saved = self.store.save(self.stepper.snapshot(state), self.step)


def _one_epoch(sampler: BatchSampler) -> Iterator[Planned]:
    for planned in sampler.batches(Position()):
        if planned.position.epoch:
            return
        yield planned
