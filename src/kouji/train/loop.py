"""The training loop: batches in, updates out, and everything that keeps a long run safe.

A run is a function of its settings and the step number, so a resumed run takes the same steps as
one that was never stopped. Plain torch; knows no model, no data and no terminal.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kouji.errors import TrainingError
from kouji.train.checkpoint import CheckpointStore, check_compatible, start_from
from kouji.train.distributed import World, is_launched, join, pick_device, spawn
from kouji.train.evaluation import Best, Evaluator
from kouji.train.guard import LossGuard
from kouji.train.ledger import Ledger, Outcome
from kouji.train.loader import BadClips, Loader
from kouji.train.monitor import Monitor
from kouji.train.recipes import ClipDataset, Recipe, hook, recipe_name
from kouji.train.sampler import BatchSampler, Planned, Position
from kouji.train.schedule import learning_rate_factor
from kouji.train.settings import DEFAULT_STEPS, RunSettings
from kouji.train.stepper import Stepper
from kouji.train.stopping import Stop, caught_signals

ENDED = ("finished", "stopped early")


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    status:     "finished", "stopped early" (patience, is_done), "paused" (stop_after_seconds) or
                "interrupted" (by `signal`)
    step:       optimiser steps done in all
    best:       the lowest validation figure so far
    checkpoint: the last one written
    """

    status: str
    step: int
    best: float | None
    checkpoint: Path
    signal: int | None = None


def run(recipe: Recipe, settings: RunSettings, *, is_end_measured: bool = False) -> RunResult:
    """Train for `steps` or `epochs`, going on from the last checkpoint in `settings.out` if any.

    is_end_measured: evaluate at the end, also of a run that ended before, unless that was done

    Collective: under torchrun every process calls it; without torchrun `devices` processes are
    started here (the recipe must then pickle). Raises TrainingError when the run has to
    stop (not finite, diverged, too many bad clips, checkpoints of something else) and ConfigError
    for settings this machine or recipe cannot follow.
    """
    if settings.devices > 1 and not is_launched():
        own = partial(run, is_end_measured=is_end_measured)
        result = spawn(own, (recipe, settings), settings.devices)
        assert isinstance(result, RunResult)
        return result
    if settings.threads:
        torch.set_num_threads(settings.threads)
    world = join(settings.device)
    try:
        with caught_signals() as stop:
            return _Run(recipe, settings, world).train(stop, is_end_measured)
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
        self.recipe, self.world = recipe, world
        self.dataset = recipe.dataset("train")
        self.sampler = BatchSampler(
            self.dataset.lengths(), settings, is_joint=bool(hook(recipe, "is_joint"))
        )
        self.settings = settings = _with_steps(settings, self.sampler)
        out = Path(settings.out)
        out.mkdir(parents=True, exist_ok=True)
        self.monitor = Monitor(settings, is_active=world.is_main)
        self.store = CheckpointStore(out / "checkpoints", settings.keep_last)
        self.bad_clips = BadClips(out / "bad_clips.txt")
        self.guard, self.ledger = LossGuard(settings), Ledger()
        self.step, self.trained_seconds = 0, 0.0
        self.best = Best()
        self.evaluated_step: int | None = None
        self.saved: Path | None = None
        self.position = Position()
        self.stepper = self._build()
        self.device = self.stepper.device
        self.evaluator = Evaluator(
            recipe, settings, self.stepper, lambda data, plan: self._loader(data, plan, [0], 1)
        )
        self._resume()

    # --- preparation

    def _build(self) -> Stepper:
        torch.manual_seed(self.settings.seed)
        model = self.recipe.build().float()
        device = pick_device(self.settings.device, self.world)
        if self.settings.init_from:
            begin = hook(self.recipe, "start_from") or start_from
            self.monitor.say(begin(model, self.settings.init_from))
        self.world.share_weights((*model.parameters(), *model.buffers()), device)
        stepper = Stepper(self.recipe, model, self.settings, self.world)
        for line in stepper.prepared:
            self.monitor.say(line)
        return stepper

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
        seen = self.world.gather(found and found[0].state["step"])
        if len(set(seen)) > 1:
            raise TrainingError(
                "the processes of the run see different checkpoints",
                seen=", ".join(f"process {rank}: {step}" for rank, step in enumerate(seen)),
                allowed=f"one folder that all machines share for {self.settings.out}",
            )
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
        self.step, self.saved = state["step"], path
        self.best = Best(state["best"], state.get("stale_evaluations", 0))
        self.evaluated_step = state.get("evaluated_step")
        restore = hook(self.recipe, "restore")
        if restore and state.get("recipe_state") is not None:
            restore(state["recipe_state"])
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

    def train(self, stop: Stop, is_end_measured: bool = False) -> RunResult:
        """Take all remaining steps; always leaves the loader and monitor closed."""
        world, passes = self.world, self.settings.accumulate
        parts = [world.rank + world.size * number for number in range(passes)]
        plan = self.sampler.batches(self.position)
        loader = self._loader(self.dataset, plan, parts, world.size * passes)
        self.monitor.begin(self.step)
        self.ledger.begin()
        self._started = self._last_save = time.monotonic()
        try:
            status = self._take_steps(loader, stop)
            if is_end_measured and status in ENDED and self.evaluated_step != self.step:
                self._evaluate()
            return self._end(status, stop)
        finally:
            loader.close()
            self.monitor.close()

    def _take_steps(self, loader: Loader, stop: Stop) -> str:
        run, batches = self.settings, iter(loader)
        while self.step < run.steps:
            has_patience = self.best.stale_evaluations < run.patience or not run.patience
            if not has_patience or hook(self.recipe, "is_done"):
                return "stopped early"
            with self.ledger.waiting():
                loaded = next(batches)
            self.stepper.take(loaded, self.step, self.ledger)
            where = loaded.planned.position
            self.position, self.step = Position(where.epoch, where.batch + 1), self.step + 1
            self._settle(is_forced=self.device.type != "cuda")
            if self.step % run.log_every == 0:
                self._log()
            if self._is_evaluated(where):
                self._evaluate()
            if run.samples_every and self.step % run.samples_every == 0:
                self._show_samples()
            status = self._agree(stop)
            if status:
                return status
        return "finished"

    def _is_evaluated(self, position: Position) -> bool:
        """Whether an evaluation follows the step just taken, on the batch at `position`."""
        run = self.settings
        if run.evaluate_every and self.step % run.evaluate_every == 0:
            return True
        is_due = run.evaluate_epochs and (position.epoch + 1) % run.evaluate_epochs == 0
        return bool(is_due) and self.sampler.is_last(position)

    def _end(self, status: str, stop: Stop) -> RunResult:
        self._settle()
        if self.saved != self.store.path(self.step):
            self._save()
        checkpoint = self.saved or self.store.path(self.step)
        figure = self.best.figure
        best = "" if figure is None else f", best {figure:.4g}"
        self.monitor.say(f"{status} at step {self.step}{best}, saved {checkpoint}")
        self._report(status)
        if len(self.bad_clips):
            self.monitor.say(f"{len(self.bad_clips)} clips were left out: {self.bad_clips.file}")
        number = stop.number if status == "interrupted" else None
        return RunResult(status, self.step, figure, checkpoint, number)

    def _report(self, status: str) -> None:
        """Write what the recipe has to say of its run beside the log, and show its summary."""
        own = hook(self.recipe, "report")
        if own is None or not self.world.is_main:
            return
        facts = {
            "status": status,
            "step": self.step,
            "evaluated_step": self.evaluated_step,
            "best": self.best.figure,
            **own(),
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False) + "\n"
        (Path(self.settings.out) / "report.json").write_text(text, encoding="utf-8")
        for line in facts.get("summary", []):
            self.monitor.say(line)

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
        self.bad_clips.check(num_bad, self.sampler.num_usable, run.max_bad_fraction)
        self.monitor.tick(self.step)
        if stopping or pausing:
            return "interrupted" if stopping else "paused"
        if saving:
            self._settle()
            if not self.guard.is_diverging:
                self._save()
        return None

    # --- evaluation

    @contextmanager
    def _evaluating(self) -> Iterator[torch.nn.Module]:
        """The working model with averaged weights, in evaluation mode; its time does not count."""
        started = time.monotonic()
        torch.manual_seed(self.settings.seed)
        try:
            with self.stepper.evaluating() as model:
                yield model
        finally:
            self.ledger.leave_out(time.monotonic() - started)

    def _evaluate(self) -> None:
        """Process 0 evaluates; all learn the figures and draw the same conclusions."""
        self._settle()
        own: dict[str, float] | None = None
        with self._evaluating() as model:
            if self.world.is_main:
                own = self.evaluator.figures(model, self.step)
        figures: dict[str, float] = self.world.gather(own)[0]
        self.evaluated_step = self.step
        self.monitor.scalars(self.step, figures, kind="valid")
        shown = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.monitor.say(f"step {self.step} valid: {shown}")
        observe = hook(self.recipe, "observe")
        remark = observe(self.step, dict(figures)) if observe else None
        if remark:
            self.monitor.say(f"step {self.step} {remark}")
        draw = hook(self.recipe, "draw")
        if draw and self.world.is_main:
            draw(self.monitor, self.step)
        figure = figures.get(hook(self.recipe, "best_metric") or "loss")
        if self.best.take(figure):
            assert figure is not None
            self._save()
            if self.world.is_main:
                self.store.mark_best(self.step, figure)

    def _show_samples(self) -> None:
        show = hook(self.recipe, "samples")
        if show:
            with self._evaluating() as model:
                if self.world.is_main:
                    show(model, self.monitor, self.step)

    # --- checkpoints

    def _save(self) -> None:
        """Collective: all processes save at the same step, process 0 writes."""
        self._last_save = time.monotonic()
        pieces = self.stepper.pieces()
        if self.world.is_main:
            self.store.write(pieces, self._state(), self.step)
        else:
            for _ in pieces:  # gathered to process 0
                pass
        self.saved = self.store.path(self.step)

    def _state(self) -> dict[str, Any]:
        """What a resumed run has to know besides tensors."""
        own_state = hook(self.recipe, "state")
        return {
            "recipe": recipe_name(self.recipe),
            "config": hook(self.recipe, "config"),
            "settings": dataclasses.asdict(self.settings),
            "sampler": {
                "fingerprint": self.sampler.fingerprint(),
                "epoch": self.position.epoch,
                "batch": self.position.batch,
            },
            "best": self.best.figure,
            "stale_evaluations": self.best.stale_evaluations,
            "evaluated_step": self.evaluated_step,
            "recipe_state": own_state() if own_state else None,
            "trained_seconds": self.trained_seconds,
            "torch": torch.__version__,
        }


def _with_steps(settings: RunSettings, sampler: BatchSampler) -> RunSettings:
    """Settings whose `steps` says how long the run is."""
    steps = settings.steps or DEFAULT_STEPS
    if settings.epochs:
        steps = sum(sampler.num_batches(epoch) for epoch in range(settings.epochs))
    return dataclasses.replace(settings, steps=steps, epochs=0)
