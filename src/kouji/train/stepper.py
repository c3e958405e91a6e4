"""One optimiser step: seeds, forward and backward of each pass, the update, the average.

Holds model, optimisers and average of a run and knows how to save and restore them; knows no
files, no schedule of a whole run and no log.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from kouji.errors import ConfigError, TrainingError
from kouji.train.checkpoint import Snapshot
from kouji.train.compiling import compile_blocks
from kouji.train.distributed import World, pick_device
from kouji.train.ema import Ema
from kouji.train.ledger import Ledger
from kouji.train.loader import Loaded
from kouji.train.precision import Applied, Update, Weights
from kouji.train.recipes import Recipe, hook
from kouji.train.recompute import checkpoint_blocks
from kouji.train.schedule import learning_rate_factor
from kouji.train.settings import RunSettings
from kouji.train.sharded_update import ShardedUpdate
from kouji.train.sharded_weights import ShardedEma, ShardedWeights
from kouji.train.sharding import SHARDED, pick_strategy


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


class Stepper:
    """Trains `model` (float32, on the device) by `take`."""

    def __init__(
        self, recipe: Recipe, model: torch.nn.Module, settings: RunSettings, world: World
    ) -> None:
        self.recipe, self.settings, self.world = recipe, settings, world
        self.device = pick_device(settings.device, world)
        self.strategy = pick_strategy(settings, world)
        self.weights = self._make_weights(model)
        is_scaled = settings.precision == "float16"
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=is_scaled)
        self._is_joint = bool(hook(recipe, "is_joint"))
        if self._is_joint and 0 < settings.batch_size < world.size:
            raise ConfigError(
                "every process needs an example of each batch of this recipe",
                seen=f"batch_size={settings.batch_size} for {world.size} processes",
                allowed=f">= {world.size}",
            )
        self.updates = self._make_updates()
        if isinstance(self.weights, ShardedWeights):
            self.weights.begin()
        self.ema = self._make_ema()
        self.prepared = self._prepare()
        self._generator = torch.Generator(self.device)
        self._own_step = hook(recipe, "training_step")
        if self._own_step and settings.accumulate > 1:
            raise ConfigError(
                "this recipe takes its own steps",
                seen=f"accumulate={settings.accumulate}",
                allowed="1",
            )

    def _make_weights(self, model: torch.nn.Module) -> Weights | ShardedWeights:
        run, is_offloaded = self.settings, self.settings.offload
        if self.strategy in SHARDED:
            return ShardedWeights(
                model,
                run.precision,
                self.world,
                self.device,
                is_offloaded=is_offloaded,
                has_blocks=self.strategy == "zero3",
            )
        return Weights(model.to(self.device), run.precision, is_offloaded=is_offloaded)

    def _make_ema(self) -> Ema | None:
        run, weights = self.settings, self.weights
        if not run.ema_decay:
            return None
        if isinstance(weights, ShardedWeights):
            return ShardedEma(weights, run.ema_decay, run.ema_every)
        return Ema(weights.master, run.ema_decay, run.ema_every)

    def _prepare(self) -> list[str]:
        """Change how the working model computes, not what; lines that say how."""
        lines: list[str] = []
        if self.settings.checkpointing:
            lines.append(checkpoint_blocks(self.weights.working))
        if self.settings.compile:
            is_varied = True if self.settings.batch_seconds else None  # lengths differ by batch
            lines.append(compile_blocks(self.weights.working, dynamic=is_varied))
        return lines

    def _make_updates(self) -> dict[str, Update]:
        make = hook(self.recipe, "optimizers") or default_optimizer
        made = make(self.weights.master, self.settings)
        optimizers = made if isinstance(made, dict) else {"main": made}
        clip = self.settings.clip_norm
        options = {"is_only": len(optimizers) == 1, "is_joint": self._is_joint}
        kind: type[Update] = ShardedUpdate if self.strategy in SHARDED else Update
        return {
            name: kind(optimizer, self.weights, self.scaler, self.world, clip, **options)
            for name, optimizer in optimizers.items()
        }

    def take(self, loaded: Loaded, step: int, ledger: Ledger) -> None:
        """Take step `step` (0-based) on a loaded batch and enter its outcome."""
        factor = learning_rate_factor(step, self.settings)
        self.weights.working.train()
        if self._own_step:
            applied = self._take_own(loaded, step, factor, ledger)
        else:
            applied = self._take_passes(loaded, step, factor, ledger)
        if self.scaler.is_enabled() and not applied.was_left_out:
            self.scaler.update()
        if self.ema:
            self.ema.update(step)
        ledger.add_step(step, applied, loaded.planned)

    def _take_passes(self, loaded: Loaded, step: int, factor: float, ledger: Ledger) -> Applied:
        """A step of the one optimiser, over all passes of a batch."""
        passes = self._held_by_all(loaded) if self._is_joint else loaded.passes
        if self._is_joint and not any(passes):
            return Applied.left_out(self.device)
        for number, part in enumerate(passes):
            if part is None:
                self.updates["main"].skip_pass()
            else:
                self._add_pass(part, number, step, ledger)
        return self.updates["main"].apply(factor)

    def _held_by_all(self, loaded: Loaded) -> list[tuple[dict[str, Any], int] | None]:
        """This process's passes; None in place of one that some process has no examples of."""
        lacking = self.world.sum_counts([int(part is None) for part in loaded.passes])
        return [None if count else part for part, count in zip(loaded.passes, lacking, strict=True)]

    def _add_pass(
        self, part: tuple[dict[str, Any], int], number: int, step: int, ledger: Ledger
    ) -> None:
        batch, num_examples = part
        generator = self._seed(number, step)
        model, batch = self.weights.working, self.cast(batch)
        with self.weights.passing():
            loss, metrics = self.recipe.loss(model, batch, step, generator)
            weight = metrics.pop("weight", float(num_examples))
            self.updates["main"].backward(loss, weight)
        ledger.add_metrics(metrics, weight)

    def _take_own(self, loaded: Loaded, step: int, factor: float, ledger: Ledger) -> Applied:
        """A step of a recipe with several optimisers; its first update is the one watched.

        All processes leave a batch out when one of them got no usable clip of it.
        """
        (part,) = self._held_by_all(loaded)
        if part is None:
            return Applied.left_out(self.device)
        batch, num_examples = part
        context = StepContext(self.weights.working, self.updates, factor, num_examples)
        generator = self._seed(0, step)
        assert self._own_step is not None
        with self.weights.passing():
            metrics = self._own_step(context, self.cast(batch), step, generator)
        if not context.applied:
            raise TrainingError("training_step minimised nothing", cure="call context.minimise")
        ledger.add_metrics(metrics, float(num_examples))
        return next(iter(context.applied.values()))

    def cast(self, batch: dict[str, Any]) -> dict[str, Any]:
        """A batch as the working model takes it."""
        return self.weights.cast(batch, self.device, hook(self.recipe, "keep_float32") or ())

    def _seed(self, number: int, step: int) -> torch.Generator:
        """Seed dropout and the recipe's generator from seed, step and share, for exact resume."""
        part = self.world.rank + self.world.size * number
        words = np.random.SeedSequence([self.settings.seed, step, part])
        mixed = int(words.generate_state(1, np.uint64)[0] >> 1)
        torch.manual_seed(mixed)
        self._generator.manual_seed(mixed)
        return self._generator

    def pieces(self) -> Iterator[tuple[str, Any]]:
        """Weights, average and moments, one after another and whole on process 0. Collective."""
        yield "model", self.weights.state_dict()
        yield "ema", self.ema.state_dict() if self.ema else None
        optimizer: dict[str, Any] = {
            name: update.state_dict() for name, update in self.updates.items()
        }
        optimizer["scaler"] = self.scaler.state_dict()
        yield "optimizer", optimizer

    def restore(self, snapshot: Snapshot, source: str) -> None:
        """Take over a snapshot whose weights fit; `source` names it in errors. Collective."""
        self.weights.load_state_dict(snapshot.model)
        for name, update in self.updates.items():
            update.load_state_dict(snapshot.optimizer.get(name), source)
        if self.scaler.is_enabled() and snapshot.optimizer.get("scaler"):
            self.scaler.load_state_dict(snapshot.optimizer["scaler"])
        if self.ema:
            self.ema.load_state_dict(snapshot.ema or snapshot.model)

    @contextmanager
    def evaluating(self) -> Iterator[torch.nn.Module]:
        """The working model, whole and with averaged weights, in evaluation mode. Collective."""
        model, ema = self.weights.working, self.ema
        model.eval()
        try:
            averaged = ema.applied_to(model) if ema else nullcontext()
            with averaged, self.weights.gathered(), torch.no_grad():
                yield model
        finally:
            model.train()

    def memory_bytes(self) -> dict[str, int]:
        """Bytes of this process: working weights, masters, gradients (at most), moments, average.

        Call it after some steps; activations are not counted.
        """
        held = [update.memory_bytes() for update in self.updates.values()]
        is_one = not self.weights.is_split
        return {
            "working": 0 if is_one else self.weights.working_bytes(),
            "masters": sum(part.masters for part in held),
            "gradients": sum(part.gradients for part in held),
            "moments": sum(part.moments for part in held),
            "average": self.ema.num_bytes() if self.ema else 0,
        }


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
