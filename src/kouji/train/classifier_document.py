"""The recipe of a classifier as a document, for whoever names only data and a few wishes.

The values of recipes/classifier.yaml, but for what suits its data and one machine. Knows keys;
what they mean is the recipe's affair.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kouji.errors import ConfigError

DEFAULTS: dict[str, dict[str, Any]] = {
    "data": {"augment": {"mixup": 0.3, "time_masks": 1, "frequency_masks": 1}},
    "model": {
        "architecture": "resnet18",
        "n_fft": 2048,
        "hop_length": 1024,
        "num_mels": 64,
        "window_seconds": 3,
    },
    "run": {
        "epochs": 50,
        "batch_size": 16,
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "warmup_steps": 60,
        "ema_decay": 0.98,
        "evaluate_epochs": 5,
        "evaluate_batches": 100_000,
        "save_every_seconds": 120,
        "keep_last": 1,
    },
}


def make_document(
    folder: str | Path,
    out: str | Path,
    *,
    base: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A recipe's document: `base` (else the defaults) with the given blocks laid over it.

    folder: of the data; out: of the run; keys whose value is None are left as they are
    """
    document: dict[str, Any] = copy.deepcopy(dict(base or DEFAULTS))
    document["recipe"] = "classifier"
    for name, block in (("data", data), ("model", model), ("run", run)):
        wishes = {key: value for key, value in (block or {}).items() if value is not None}
        document[name] = {**(document.get(name) or {}), **wishes}
    own = document["run"]
    for first, second in (("steps", "epochs"), ("batch_seconds", "batch_size")):
        asked = [key for key in (first, second) if (run or {}).get(key) is not None]
        if len(asked) == 1:  # the other one of an either-or pair was the base's
            own.pop(second if asked == [first] else first, None)
    document["data"].pop("store", None)
    document["data"]["folder"], own["out"] = str(folder), str(out)
    return document


def read_base(path: str | Path) -> dict[str, Any]:
    """The document of a classifier's recipe, from YAML; ConfigError for anything else."""
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError("recipe cannot be read", seen=f"{path}: {reason}") from error
    if not isinstance(document, dict) or document.get("recipe") != "classifier":
        seen = document.get("recipe") if isinstance(document, dict) else document
        raise ConfigError("not the recipe of a classifier", seen=seen, allowed="recipe: classifier")
    for name in ("data", "model", "run"):
        if not isinstance(document.get(name), dict | None):
            raise ConfigError(f"{name} in {path} is not a mapping", seen=document[name])
    return document
