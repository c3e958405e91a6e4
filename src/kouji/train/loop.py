"""The training loop: batches in, updates out, and everything that keeps a long run safe.

A run is a function of its settings and the step number: randomness is seeded anew at each step,
so a resumed run takes the same steps as one that was never stopped. Plain torch; knows no model,
no data and no terminal (recipes, loader and monitor do).
"""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from kouji.errors import ConfigError, TrainingError
from kouji.train.checkpoint import CheckpointStore, Snapshot, check_compatible, start_from
from kouji.train.distributed import World, is_launched, join, pick_device, spawn
from kouji.train.ema import Ema
from kouji.train.guard import LossGuard
from kouji.train.loader import BadClips, Loaded, Loader
from kouji.train.monitor import Monitor
from kouji.train.precision import Applied, Update, Weights
from kouji.train.recipes import ClipDataset, Recipe, hook, recipe_name
from kouji.train.sampler import BatchSampler, Planned, Position
from kouji.train.schedule import learning_rate_factor
from kouji.train.settings import RunSettings

_FLUSH_STEPS = 50  # on CUDA losses are looked at this often at least, elsewhere every step


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
        with _caught_signals() as stop:
            return _Run(recipe, settings, world).train(stop)
    finally:
        world.close()


@dataclass
class StepContext:
    """What a recipe's own `training_step` works with (GANs): minimise losses one after another."""

    model: torch.nn.Module
    updates: dict[str, Update]
    factor: float  # of the learning rate
    num_examples: int
    applied: dict[str, Applied] = dataclasses.field(default_factory=dict)

    def minimise(self, loss: Tensor, name: str, weight: float | Tensor | None = None) -> None:
        """Step the optimiser `name` on the mean `loss` over `weight` units (default: examples)."""
        update = self.updates[name]
        update.backward(loss, self.num_examples if weight is None else weight)
        self.applied[name] = update.apply(self.factor)


class _Stop:
    """The last signal received, if any."""

    number: int | None = None


@dataclass(frozen=True)
class _Pending:
    """A step whose outcome still lies on the device."""

    step: int
    outcome: Tensor  # (4,) loss, norm, is_finite, is_empty
    planned: Planned


class _Run:
    """State of one run in one process."""

    def __init__(self, recipe: Recipe, settings: RunSettings, world: World) -> None:
        self.recipe, self.settings, self.world = recipe, settings, world
        self.out = Path(settings.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.device = pick_device(settings.device, world)
        self.monitor = Monitor(settings, is_active=world.is_main)
        self.store = CheckpointStore(self.out / "checkpoints", settings.keep_last)
        self.bad_clips = BadClips(self.out / "bad_clips.txt")
        self.guard = LossGuard(settings)
        self.step, self.trained_seconds = 0, 0.0
        self.best: float | None = None
        self.position = Position()
        self.saved: Path | None = None
        self._build()
        self._load_data()
        self._resume()

    # --- preparation

    def _build(self) -> None:
        run, world = self.settings, self.world
        torch.manual_seed(run.seed)
        model = self.recipe.build().float().to(self.device)
        if run.init_from:
            self.monitor.say(start_from(model, run.init_from))
        world.share_weights([*model.parameters(), *model.buffers()])
        self.weights = Weights(model, run.precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=run.precision == "float16")
        optimizers = self._optimizers()
        self.updates = {
            name: Update(
                optimizer,
                self.weights,
                self.scaler,
                world,
                run.clip_norm,
                is_only=len(optimizers) == 1,
            )
            for name, optimizer in optimizers.items()
        }
        self.ema = Ema(model, run.ema_decay, run.ema_every) if run.ema_decay else None
        self.generator = torch.Generator(self.device)
        if hook(self.recipe, "training_step") and run.accumulate > 1:
            raise ConfigError(
                "this recipe takes its own steps", seen=f"accumulate={run.accumulate}", allowed="1"
            )

    def _optimizers(self) -> dict[str, Optimizer]:
        own = hook(self.recipe, "optimizers")
        made = (own or default_optimizer)(self.weights.master, self.settings)
        return made if isinstance(made, dict) else {"main": made}

    def _load_data(self) -> None:
        run, world = self.settings, self.world
        self.dataset = self.recipe.dataset("train")
        self._valid: ClipDataset | None = None
        self.sampler = BatchSampler(self.dataset.lengths(), run)
        self.num_parts = world.size * run.accumulate
        self.parts = [world.rank + world.size * k for k in range(run.accumulate)]

    def _loader(self, dataset: Any, plan: Iterator[Planned], parts: list[int], num: int) -> Loader:
        return Loader(
            self.recipe,
            dataset,
            plan,
            seed=self.settings.seed,
            parts=parts,
            num_parts=num,
            num_workers=self.settings.num_workers,
            bad_clips=self.bad_clips,
            pin=self.device.type == "cuda",
        )

    # --- the loop

    def train(self, stop: _Stop) -> RunResult:
        """Take all remaining steps; always leaves the loader and monitor closed."""
        loader = self._loader(
            self.dataset, self.sampler.batches(self.position), self.parts, self.num_parts
        )
        self.monitor.begin(self.step)
        self._begin_interval()
        self._started = self._last_save = time.monotonic()
        try:
            return self._train(loader, stop)
        finally:
            loader.close()
            self.monitor.close()

    def _train(self, loader: Loader, stop: _Stop) -> RunResult:
        run = self.settings
        status = "finished"
        batches = iter(loader)
        while self.step < run.steps:
            loaded = next(batches)
            self._take_step(loaded)
            self._settle(loader, is_forced=self.device.type != "cuda")
            if self.step % run.log_every == 0:
                self._log(loader)
            if run.evaluate_every and self.step % run.evaluate_every == 0:
                self._evaluate(loader)
            if run.samples_every and self.step % run.samples_every == 0:
                self._show_samples()
            status = self._agree(loader, stop) or status
            if status != "finished":
                break
        self._settle(loader)
        if self.saved is None or self.saved.name != f"step-{self.step:08d}":
            self._save()
        checkpoint = self.saved or self.store.folder / f"step-{self.step:08d}"
        self._say_end(status, checkpoint)
        return RunResult(
            status,
            self.step,
            self.best,
            checkpoint,
            stop.number if status == "interrupted" else None,
        )

    def _take_step(self, loaded: Loaded) -> None:
        factor = learning_rate_factor(self.step, self.settings)
        self.weights.working.train()
        if hook(self.recipe, "training_step"):
            applied = self._own_step(loaded, factor)
        else:
            for number, part in enumerate(loaded.passes):
                if part is not None:
                    self._add_pass(part, number)
            applied = self.updates["main"].apply(factor)
        if self.scaler.is_enabled():
            self.scaler.update()
        if self.ema:
            self.ema.update(self.step)
        outcome = torch.stack(
            (applied.loss, applied.norm, applied.is_finite.float(), applied.is_empty.float())
        )
        self._pending.append(_Pending(self.step, outcome, loaded.planned))
        self._interval_seconds += loaded.planned.seconds
        self.step += 1
        where = loaded.planned.position
        self.position = Position(where.epoch, where.batch + 1)

    def _add_pass(self, part: tuple[dict[str, Any], int], number: int) -> None:
        batch, num_examples = part
        generator = self._seed_pass(number)
        batch = self._cast(batch)
        loss, metrics = self.recipe.loss(self.weights.working, batch, self.step, generator)
        weight = metrics.pop("weight", float(num_examples))
        self.updates["main"].backward(loss, weight)
        self._add_metrics(metrics, weight)

    def _own_step(self, loaded: Loaded, factor: float) -> Applied:
        """A step of a recipe with several optimisers; its first update is the one watched."""
        part = loaded.passes[0]
        if part is None:
            raise TrainingError(
                "a process got an empty share of a batch",
                seen=f"{len(loaded.planned.indices)} clips for {self.world.size} processes",
                cure="use larger batches or fewer processes",
            )
        batch, num_examples = part
        context = StepContext(self.weights.working, self.updates, factor, num_examples)
        generator = self._seed_pass(0)
        own_step: Any = hook(self.recipe, "training_step")
        metrics = own_step(context, self._cast(batch), self.step, generator)
        if not context.applied:
            raise TrainingError("training_step minimised nothing", cure="call context.minimise")
        self._add_metrics(metrics, float(num_examples))
        return next(iter(context.applied.values()))

    def _cast(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self.weights.cast(batch, self.device, hook(self.recipe, "keep_float32") or ())

    def _seed_pass(self, number: int) -> torch.Generator:
        """Seed dropout and the recipe's generator from seed, step and share, for exact resume."""
        part = self.parts[number]
        words = np.random.SeedSequence([self.settings.seed, self.step, part])
        mixed = int(words.generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(mixed)
        self.generator.manual_seed(mixed)
        return self.generator

    # --- looking at what happened

    def _begin_interval(self) -> None:
        self._pending: list[_Pending] = []
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._metrics: dict[str, Any] = {}
        self._interval_seconds, self._interval_start = 0.0, time.monotonic()

    def _add_metrics(self, metrics: dict[str, Any], weight: float | Tensor) -> None:
        """Gather weighted sums without asking the device for a number."""
        for name, value in metrics.items():
            value = value.detach() if isinstance(value, Tensor) else value
            sums = self._metrics.setdefault(name, [0.0, 0.0])
            sums[0], sums[1] = sums[0] + value * weight, sums[1] + weight

    def _settle(self, loader: Loader, *, is_forced: bool = True) -> None:
        """Fetch the outcome of pending steps and let the guard judge them."""
        if not self._pending or not (is_forced or len(self._pending) >= _FLUSH_STEPS):
            return
        pending, self._pending = self._pending, []
        for item, row in zip(
            pending, torch.stack([p.outcome for p in pending]).tolist(), strict=True
        ):
            loss, norm, is_finite, is_empty = row
            if not is_empty:
                self._judge(loader, item, loss, norm, bool(is_finite))

    def _judge(
        self, loader: Loader, item: _Pending, loss: float, norm: float, is_finite: bool
    ) -> None:
        if self.scaler.is_enabled() and loss == loss:
            is_finite = True  # an overflow the scaler answers by halving its scale
        names: list[str] = []

        def clips() -> str:
            names.extend(loader.paths(item.planned))
            return ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")

        try:
            verdict = self.guard.judge(item.step, loss, is_finite, clips)
        except TrainingError as error:
            if self.saved is None and not is_finite:
                self._save()  # no update took a step that was not finite: these weights are good
            raise self._with_checkpoint(error) from error
        if verdict.is_finite:
            self._losses.append(loss)
            if math.isfinite(norm):
                self._norms.append(norm)
        else:
            self.monitor.say(f"step {item.step} was skipped: loss {loss}, clips {clips()}")
            self.monitor.skipped(item.step, loss, names)

    def _with_checkpoint(self, error: TrainingError) -> TrainingError:
        last = self.saved or "none was written yet"
        cure = f"last good checkpoint: {last}"
        return TrainingError(error.what, seen=error.seen, allowed=error.allowed, cure=cure)

    def _log(self, loader: Loader) -> None:
        self._settle(loader)
        sums = self.world.gather(
            {name: [float(total), float(weight)] for name, (total, weight) in self._metrics.items()}
        )
        took = max(time.monotonic() - self._interval_start, 1e-9)
        self.trained_seconds += took
        values = {"loss": _mean(self._losses), **_merge(sums)}
        values["learning_rate"] = self.settings.learning_rate * learning_rate_factor(
            self.step - 1, self.settings
        )
        values["grad_norm"] = _mean(self._norms)
        values["audio_per_second"] = self._interval_seconds / took
        values["trained_seconds"] = self.trained_seconds
        self.monitor.scalars(self.step, values)
        shown = {k: values[k] for k in ("loss", "grad_norm", "audio_per_second")}
        self.monitor.tick(self.step, shown)
        self._begin_interval()

    def _agree(self, loader: Loader, stop: _Stop) -> str | None:
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
            self._settle(loader)
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

    @contextmanager
    def _evaluating(self) -> Iterator[torch.nn.Module]:
        """The working model with averaged weights, in evaluation mode."""
        model = self.weights.working
        model.eval()
        torch.manual_seed(self.settings.seed)
        try:
            with torch.no_grad(), self.ema.applied_to(model) if self.ema else nullcontext():
                yield model
        finally:
            model.train()

    def _evaluate(self, loader: Loader) -> None:
        """Process 0 evaluates, the others wait at the next agreement."""
        self._settle(loader)
        if not self.world.is_main:
            return
        started = time.monotonic()
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
        self._interval_start += time.monotonic() - started

    def _figures(self, model: torch.nn.Module) -> dict[str, float]:
        run = self.settings
        if self._valid is None:
            self._valid = self.recipe.dataset("valid")
        dataset = self._valid
        plain = dataclasses.replace(run, sample_power=0.0, seed=0)
        sampler = BatchSampler(dataset.lengths(), plain)
        plan = (p for p, _ in zip(_one_epoch(sampler), range(run.evaluate_batches), strict=False))
        loader = self._loader(dataset, plan, [0], 1)
        batches = (self._cast(part[0]) for item in loader for part in item.passes if part)
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
            weight = float(metrics.pop("weight", 1.0))
            for name, value in {"loss": loss, **metrics}.items():
                total = sums.setdefault(name, [0.0, 0.0])
                total[0], total[1] = total[0] + float(value) * weight, total[1] + weight
        return _merge([sums])

    def _show_samples(self) -> None:
        show = hook(self.recipe, "samples")
        if show and self.world.is_main:
            started = time.monotonic()
            with self._evaluating() as model:
                show(model, self.monitor, self.step)
            self._interval_start += time.monotonic() - started

    # --- checkpoints

    def _save(self) -> None:
        self._last_save = time.monotonic()
        if not self.world.is_main:
            return
        self.weights.collect_buffers()
        optimizer: dict[str, Any] = {
            name: update.optimizer.state_dict() for name, update in self.updates.items()
        }
        optimizer["scaler"] = self.scaler.state_dict()
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
        averages = self.ema.state_dict() if self.ema else None
        snapshot = Snapshot(self.weights.master.state_dict(), averages, optimizer, state)
        self.saved = self.store.save(snapshot, self.step)

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
        check_compatible(self.weights.master, snapshot.model, str(path))
        self.weights.master.load_state_dict(snapshot.model)
        self.weights.publish()
        self._restore_optimizers(snapshot.optimizer, str(path))
        if self.ema:
            self.ema.load_state_dict(snapshot.ema or snapshot.model)
        self.step, self.best, self.saved = state["step"], state["best"], path
        self.trained_seconds = state["trained_seconds"]
        self._restore_position(state["sampler"])
        self.monitor.say(f"resumed from {path} at step {self.step}")

    def _restore_optimizers(self, saved: dict[str, Any], source: str) -> None:
        """Take over moments, not hyperparameters: those may be changed between two runs."""
        for name, update in self.updates.items():
            optimizer = update.optimizer
            hyper = [
                {k: v for k, v in group.items() if k != "params"}
                for group in optimizer.param_groups
            ]
            try:
                optimizer.load_state_dict(saved[name])
            except (KeyError, ValueError) as error:
                raise TrainingError(
                    f"{source} was written by another optimiser", seen=error
                ) from error
            for group, values in zip(optimizer.param_groups, hyper, strict=True):
                group.update(values)
        if self.scaler.is_enabled() and saved["scaler"]:
            self.scaler.load_state_dict(saved["scaler"])

    def _restore_position(self, saved: dict[str, Any]) -> None:
        if saved["fingerprint"] == self.sampler.fingerprint():
            self.position = Position(saved["epoch"], saved["batch"])
        else:
            self.position = Position(saved["epoch"] + 1, 0)
            self.monitor.say("data, seed or batching changed: going on with a new epoch")

    def _say_end(self, status: str, checkpoint: Path) -> None:
        best = "" if self.best is None else f", best {self.best:.4g}"
        self.monitor.say(f"{status} at step {self.step}{best}, saved {checkpoint}")
        if len(self.bad_clips):
            self.monitor.say(f"{len(self.bad_clips)} clips were left out: {self.bad_clips.file}")


def default_optimizer(model: torch.nn.Module, settings: RunSettings) -> Optimizer:
    """AdamW without decay on vectors and scalars (biases, norms), in one kernel where it can be."""
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    is_fused = all(p.device.type in ("cpu", "cuda") for p in params)
    return torch.optim.AdamW(
        [g for g in groups if g["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=is_fused,
    )


@contextmanager
def _caught_signals() -> Iterator[_Stop]:
    """Note the first SIGINT or SIGTERM; a second one acts as usual. Only in the main thread."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: Any) -> None:
        stop.number = number
        signal.signal(number, usual[signal.Signals(number)])

    for number in usual:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def _one_epoch(sampler: BatchSampler) -> Iterator[Planned]:
    for planned in sampler.batches(Position()):
        if planned.position.epoch:
            return
        yield planned


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _merge(parts: list[dict[str, list[float]]]) -> dict[str, float]:
    """Weighted sums of several processes to means; a process may lack names others have."""
    names = {name: None for part in parts for name in part}
    means = {}
    for name in names:
        total = sum(part[name][0] for part in parts if name in part)
        weight = sum(part[name][1] for part in parts if name in part)
        means[name] = total / weight if weight else float("nan")
    return means
