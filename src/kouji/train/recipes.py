"""What a recipe is, which recipes there are, and how one is read from YAML.

A recipe owns model, data and loss; the loop owns everything else. Recipe modules are imported
only when asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kouji.errors import ConfigError
from kouji.train.settings import RunSettings, parse_settings

RECIPES = {
    "mini-acoustic": "kouji.train.mini_acoustic:MiniAcoustic",
    "mini-vocoder": "kouji.train.mini_vocoder:MiniVocoder",
    "mini-vocoder-sharpen": "kouji.train.mini_vocoder_sharpen:MiniVocoderSharpen",
    "mini-prosody": "kouji.train.mini_prosody:MiniProsody",
    "mini-sharpen": "kouji.train.mini_sharpen:MiniSharpen",
    "recogniser": "kouji.train.recogniser:RecogniserRecipe",
    "classifier": "kouji.train.classifier:Classifier",
    "phones": "kouji.train.phones:PhoneStart",
}


class ClipDataset(Protocol):
    """Random access to examples.

    A dataset may also have `example(index, rng: np.random.Generator)`: the loop then calls it
    instead of `[index]`, with a generator that depends on seed, epoch, batch and index only, so
    that random crops are the same after a resume and for any number of processes.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...
    def lengths(self) -> Sequence[float]:
        """Seconds per item."""
        ...

    def path(self, index: int) -> str:
        """How to name the item in a report."""
        ...


class Recipe(Protocol):
    """What every recipe has. Optional, looked up by name (docs/training.md):

    name: str                       shown and kept in checkpoints; else the class name
    config: JSON                    kept in checkpoints; load_recipe sets it where it is missing
    keep_float32: Collection[str]   batch entries that are not cast to half precision
    best_metric: str                key of evaluate's result to minimise; else "loss"
    evaluate(model, batches, device) -> dict[str, float]
    observe(step, figures) -> str | None   after each evaluation, on every process; a line to show
    state() -> JSON, restore(JSON)  what observe changed, kept in checkpoints
    is_done: bool                   asked before each step; True ends the run "stopped early"
    draw(monitor, step) -> None     after each evaluation: pictures of it
    report() -> JSON                when the run ends: report.json; "summary" is lines to show
    start_from(model, init_from) -> str   takes weights over; a line saying how many fit
    samples(model, monitor, step) -> None
    is_joint: bool                  the loss of a share needs the others' (statistics of a batch)
    optimizers(model, settings) -> Optimizer | dict[str, Optimizer]
    training_step(context, batch, step, generator) -> dict[str, float | Tensor]   (GANs)
    """

    def build(self) -> nn.Module:
        """The model to train; all its randomness comes from torch's seeded global generator."""
        ...

    def dataset(self, split: str) -> ClipDataset:
        """The clips of "train" or "valid"."""
        ...

    def collate(self, examples: list[Any]) -> dict[str, Tensor]:
        """Examples to a padded batch; called in a background thread."""
        ...

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Any]]:
        """The scalar mean loss and named metrics.

        metrics["weight"] says over how much the mean was taken (valid frames); without it each
        example counts once. A metric taken over something else than the loss is a pair
        (mean, its own weight). `generator` lives on the model's device.
        """
        ...


def metric_sums(
    metrics: dict[str, Any], weight: float | Tensor
) -> Iterator[tuple[str, float | Tensor, float | Tensor]]:
    """(name, mean * weight, weight) of each metric; a pair brings its own weight."""
    for name, value in metrics.items():
        mean, own = value if isinstance(value, tuple) else (value, weight)
        mean, own = (x.detach() if isinstance(x, Tensor) else x for x in (mean, own))
        yield name, mean * own, own


def hook(recipe: Recipe, name: str) -> Any:
    """An optional attribute of a recipe, or None."""
    return getattr(recipe, name, None)


def recipe_name(recipe: Recipe) -> str:
    """How checkpoints and reports call the recipe."""
    return str(hook(recipe, "name") or type(recipe).__name__)


def load_recipe(path: str | Path) -> tuple[Recipe, RunSettings]:
    """Read `{recipe, data, model, run}` from YAML; ConfigError names a wrong or unknown key."""
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "recipe cannot be read", seen=path, cure=f"check the path ({error})"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError("recipe is not YAML", seen=f"{path}: {reason}") from error
    return parse_recipe(document, str(path))


def parse_recipe(document: Any, source: str) -> tuple[Recipe, RunSettings]:
    """Build the recipe and settings a document describes; `source` names it in errors."""
    blocks = ("recipe", "data", "model", "run")
    if not isinstance(document, dict):
        raise ConfigError("recipe is not a mapping", seen=source, allowed=", ".join(blocks))
    for key, value in document.items():
        if key not in blocks:
            raise ConfigError(
                f"unknown key {key!r} in {source}", seen=value, allowed=", ".join(blocks)
            )
        if key != "recipe" and not isinstance(value, dict | None):
            raise ConfigError(f"{key} in {source} is not a mapping", seen=value)
    name = document.get("recipe")
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe in {source}", seen=name, allowed=", ".join(RECIPES))
    settings = parse_settings(document.get("run") or {})
    module, cls = RECIPES[name].split(":")
    build = getattr(importlib.import_module(module), cls)
    data, model = document.get("data") or {}, document.get("model") or {}
    recipe = build(data, model, settings.seed)
    if hook(recipe, "name") is None:
        recipe.name = name
    if hook(recipe, "config") is None:
        recipe.config = {"data": data, "model": model}
    return recipe, settings
