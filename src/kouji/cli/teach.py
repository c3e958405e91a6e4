"""`kouji train`: run a recipe; the work is train.loop."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from kouji.errors import ConfigError, UsageError

SIGNAL_BASE = 128  # a run ended by signal n leaves with 128 + n, as shells count


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/mini-acoustic.yaml.")],
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1.")] = None,
    devices: Annotated[
        int | None, typer.Option(help="Processes to start here; torchrun sets its own.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="What they share out: single, ddp, zero2, zero3.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Passes a step's batch is split into.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Times through the data.")] = None,
    checkpointing: Annotated[
        bool | None,
        typer.Option("--checkpointing/--no-checkpointing", help="Recompute activations."),
    ] = None,
    compile_: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Use torch.compile.")
    ] = None,
    offload: Annotated[
        bool | None,
        typer.Option("--offload/--no-offload", help="Keep the optimiser's state on the CPU."),
    ] = None,
    set_values: Annotated[
        list[str] | None, typer.Option("--set", help="Change a key of run: steps=2000.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Refuse to go on with an earlier run in the folder.")
    ] = False,
) -> None:
    """Train by a recipe, going on from the last checkpoint in its folder if there is one.

    Options stand above the recipe's own settings, and above --set.
    """
    from kouji.cli import session
    from kouji.train.loop import run
    from kouji.train.recipes import load_recipe
    from kouji.train.settings import change_settings

    session.start()
    plan, settings = load_recipe(recipe)
    changes = read_changes(set_values or [])
    options = {
        "device": device,
        "devices": devices,
        "strategy": strategy,
        "precision": precision,
        "accumulate": accumulate,
        "epochs": epochs,
        "checkpointing": checkpointing,
        "compile": compile_,
        "offload": offload,
    }
    changes |= {name: value for name, value in options.items() if value is not None}
    settings = change_settings(settings, changes)
    if fresh and any(Path(settings.out).glob("*")):
        raise UsageError(
            "the run's folder is not empty", seen=settings.out, cure="leave --fresh out to go on"
        )
    result = run(plan, settings)
    code = 0 if result.signal is None else SIGNAL_BASE + result.signal
    leave_launched(code)
    raise typer.Exit(code)


def leave_launched(code: int) -> None:
    """End a process of torchrun at once (see `distributed.leave`); others go on."""
    from kouji.train.distributed import is_launched, leave

    if is_launched():
        leave(code)


def read_changes(pairs: list[str]) -> dict[str, Any]:
    """`key=value` pairs with values as YAML scalars; ConfigError for anything else."""
    import yaml

    changes = {}
    for pair in pairs:
        key, is_pair, value = pair.partition("=")
        if not is_pair or not key:
            raise ConfigError("--set needs a key and a value", seen=pair, allowed="key=value")
        try:
            known = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key} has no readable value", seen=value) from error
        with contextlib.suppress(ValueError, TypeError):
            if isinstance(known, str):  # YAML 1.1 takes 1e-3 for text, nobody else does
                known = float(known)
        changes[key.strip().removeprefix("run.")] = known
    return changes
