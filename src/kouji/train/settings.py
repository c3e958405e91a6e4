"""Every knob of a training run in one frozen record, read strictly from a recipe's `run:` block.

An unknown key or a wrong value is a ConfigError that names the key and what is allowed.
Knows nothing of models or data: those have their own blocks, checked by their recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kouji.errors import ConfigError

Precision = Literal["float32", "bfloat16", "float16"]
Decay = Literal["cosine", "linear", "exponential", "constant"]
Strategy = Literal["auto", "single", "ddp", "zero2", "zero3"]

DEFAULT_STEPS = 1000  # of a run that names neither steps nor epochs


@dataclass(frozen=True)
class RunSettings:
    """How to train; what is trained is the recipe's affair. docs/training.md explains each key."""

    out: str = "runs/unnamed"
    seed: int = 0
    steps: int = 0  # optimiser steps in all; 0: as epochs says, else DEFAULT_STEPS
    epochs: int = 0  # times through the data, in place of steps
    # One optimiser step sees this much, whatever the number of processes and passes.
    batch_seconds: float = 0.0  # padded seconds a step; or
    batch_size: int = 0  # examples a step: exactly one of the two is set
    accumulate: int = 1  # passes a step's batch is split into, to save memory
    min_seconds: float = 0.0
    max_seconds: float = 0.0  # 0: no limit
    sample_power: float = 0.0  # weight of a clip = duration ** power; 0: each once an epoch
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup_steps: int = 0
    decay: Decay = "cosine"
    final_ratio: float = 0.01  # last learning rate = learning_rate * final_ratio
    clip_norm: float = 1.0  # 0: no clipping
    ema_decay: float = 0.0  # 0: no averaging
    ema_every: int = 8  # steps between updates of the average (decay ** 8 each)
    precision: Precision = "float32"
    strategy: Strategy = "auto"  # what several processes share out; auto: ddp if there are several
    checkpointing: bool = False  # compute activations again in backward, to save memory
    compile: bool = False  # torch.compile of the model's blocks
    offload: bool = False  # float32 weights, moments and averages on the CPU
    device: str = "cpu"  # cpu, cuda, cuda:1
    devices: int = 1  # local processes to start; torchrun sets its own
    threads: int = 0  # torch threads; 0: leave as they are
    num_workers: int = 1  # background threads that read and collate; 0: none
    init_from: str = ""  # checkpoint or .safetensors to start the weights from
    log_every: int = 10
    progress_seconds: float = 10.0  # between lines where stderr is no terminal
    evaluate_every: int = 0  # 0: never
    evaluate_epochs: int = 0  # at the end of every so many epochs; 0: never
    evaluate_batches: int = 20
    patience: int = 0  # evaluations without a better figure that end the run; 0: never
    samples_every: int = 0  # 0: never
    save_every_seconds: float = 300.0
    keep_last: int = 3
    stop_after_seconds: float = 0.0  # save and pause after this long; 0: run to the end
    divergence_factor: float = 10.0  # a loss above factor x running median counts as diverged
    divergence_patience: int = 50  # so many diverged steps in a row stop the run
    nonfinite_limit: int = 5  # non-finite steps skipped within 100 steps; one more stops
    max_bad_fraction: float = 0.05  # of the clips; more unreadable ones stop the run
    tensorboard: bool = True

    def __post_init__(self) -> None:
        _check_types(self)
        _check_ranges(self)


def parse_settings(values: Mapping[str, Any]) -> RunSettings:
    """Read the `run:` block of a recipe; raises ConfigError for unknown keys and wrong values."""
    allowed = [field.name for field in fields(RunSettings)]
    for key in values:
        if key not in allowed:
            raise ConfigError(
                f"unknown key {key!r} in run", seen=values[key], allowed=", ".join(allowed)
            )
    known = {key: _yaml_number(key, value) for key, value in values.items()}
    if isinstance(known.get("betas"), list):
        known["betas"] = tuple(known["betas"])
    return RunSettings(**known)


def change_settings(settings: RunSettings, changes: Mapping[str, Any]) -> RunSettings:
    """`settings` with some keys changed; naming one key of an either-or pair takes back the other.

    raises: ConfigError for unknown keys and wrong values
    """
    left_out: dict[str, Any] = {}
    for first, second in (("steps", "epochs"), ("batch_seconds", "batch_size")):
        if changes.get(first) and second not in changes:
            left_out[second] = 0
        elif changes.get(second) and first not in changes:
            left_out[first] = 0
    return parse_settings({**asdict(settings), **left_out, **changes})


def _yaml_number(key: str, value: Any) -> Any:
    """YAML 1.1 reads 1e-3 (no dot) as text; take it for the number it is."""
    if isinstance(value, str) and get_type_hints(RunSettings)[key] is float:
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _check_types(settings: RunSettings) -> None:
    for name, kind in get_type_hints(RunSettings).items():
        value = getattr(settings, name)
        if kind is float and type(value) is int:
            object.__setattr__(settings, name, float(value))  # YAML writes 5 for 5.0
        elif kind in (int, float, bool, str):
            if type(value) is not kind:
                raise ConfigError(f"run.{name} has a wrong type", seen=value, allowed=kind.__name__)
        elif get_origin(kind) is Literal:
            if value not in get_args(kind):
                raise ConfigError(
                    f"run.{name} is unknown", seen=value, allowed=", ".join(get_args(kind))
                )
        elif not (isinstance(value, tuple) and len(value) == 2 and all(_in_unit(v) for v in value)):
            raise ConfigError(f"run.{name} is wrong", seen=value, allowed="two numbers in [0, 1)")


def _in_unit(value: object) -> bool:
    return isinstance(value, float | int) and 0 <= value < 1


_AT_LEAST_ONE = ("accumulate", "ema_every", "devices", "log_every", "keep_last")
_ABOVE_ZERO = ("learning_rate", "progress_seconds", "divergence_patience")


def _check_ranges(settings: RunSettings) -> None:
    if (settings.batch_seconds > 0) == (settings.batch_size > 0):
        raise ConfigError(
            "a run needs exactly one of batch_seconds and batch_size",
            seen=f"batch_seconds={settings.batch_seconds}, batch_size={settings.batch_size}",
            allowed="one above 0, the other left out",
        )
    if settings.steps and settings.epochs:
        raise ConfigError(
            "a run is as long as steps or as epochs says",
            seen=f"steps={settings.steps}, epochs={settings.epochs}",
            allowed="one of them, the other left out or 0",
        )
    if settings.patience and not (settings.evaluate_every or settings.evaluate_epochs):
        raise ConfigError(
            "run.patience counts evaluations, and there are none",
            seen=settings.patience,
            cure="set evaluate_epochs or evaluate_every",
        )
    for name, kind in get_type_hints(RunSettings).items():
        value = getattr(settings, name)
        lowest = 1 if name in _AT_LEAST_ONE else 0
        if kind in (int, float) and (value != value or value < lowest):
            raise ConfigError(f"run.{name} is too small", seen=value, allowed=f">= {lowest}")
        if name in _ABOVE_ZERO and value <= 0:
            raise ConfigError(f"run.{name} is too small", seen=value, allowed="> 0")
    if settings.ema_decay >= 1:
        raise ConfigError("run.ema_decay is too large", seen=settings.ema_decay, allowed="[0, 1)")
    if settings.divergence_factor <= 1:
        raise ConfigError(
            "run.divergence_factor is too small", seen=settings.divergence_factor, allowed="> 1"
        )
    if 0 < settings.max_seconds < settings.min_seconds:
        raise ConfigError(
            "run.max_seconds lies below run.min_seconds",
            seen=settings.max_seconds,
            allowed=f">= {settings.min_seconds}",
        )
