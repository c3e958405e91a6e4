"""The recipe of a classifier as a document, for whoever names only data and a few wishes.

Starts from the values of recipes/classifier.yaml, which lies beside this module to be there where
the package is installed. Knows keys; what they mean is the recipe's affair.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kouji.errors import ConfigError

_RECIPE = Path(__file__).with_name("classifier.yaml")  # recipes/classifier.yaml links to it
# What in it belongs to its own data and to the machine it was measured on.
_NOT_SHARED = {
    "data": ("folder", "subset"),
    "model": (),
    "run": ("out", "seed", "precision", "threads"),
}


def read_defaults() -> dict[str, Any]:
    """The document of recipes/classifier.yaml without what suits only its data and one machine."""
    document = read_base(_RECIPE)
    for name, keys in _NOT_SHARED.items():
        document[name] = {key: value for key, value in document[name].items() if key not in keys}
    return document


def make_document(
    folder: str | Path,
    out: str | Path,
    *,
    base: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A recipe's document: `base` (else `read_defaults`) with the given blocks laid over it.

    folder: of the data; out: of the run; a key whose value is None is taken out, so that its
            default counts, and keys with dots are looked up inside: augment.mixup
    raises: ConfigError for dots below what is no mapping
    """
    document: dict[str, Any] = copy.deepcopy(dict(base or read_defaults()))
    document["recipe"] = "classifier"
    for name, block in (("data", data), ("model", model), ("run", run)):
        document[name] = dict(document.get(name) or {})
        for key, value in (block or {}).items():
            _put(document[name], key, value)
    own = document["run"]
    for first, second in (("steps", "epochs"), ("batch_seconds", "batch_size")):
        asked = [key for key in (first, second) if (run or {}).get(key) is not None]
        if len(asked) == 1:  # the other one of an either-or pair was the base's
            own.pop(second if asked == [first] else first, None)
    document["data"].pop("store", None)
    document["data"]["folder"], own["out"] = str(folder), str(out)
    return document


def _put(block: dict[str, Any], key: str, value: Any) -> None:
    """Set a key, or one inside of it: "augment.mixup"; None takes it out."""
    outer, _, inner = key.partition(".")
    if not inner and value is None:
        block.pop(key, None)
        return
    if not inner:
        block[key] = value
        return
    below = {} if block.get(outer) is None else block[outer]
    if not isinstance(below, dict):
        raise ConfigError(f"{outer} holds no keys", seen=f"{key}, where {outer} is {below!r}")
    block[outer] = below
    _put(below, inner, value)


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
