"""The `data:` block of a classifier's recipe, read strictly: which sounds, how they are changed.

Knows the keys and their checks; reads no sound.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from kouji.errors import ConfigError
from kouji.train.overfitting import OverfittingRule
from kouji.train.sound_augment import DEFAULT, Augmentation
from kouji.train.voice_augment import VoiceChange


@dataclass(frozen=True)
class ClassifierData:
    """The `data:` block.

    folder:    a store of `kouji classify prepare`, or a folder of recordings (`store` says the
               same); layout, subset and group_by as `kouji.train.sound_sets.read_sound_set`
    valid:     folds held out; none given: the last one; []: all clips teach
    balanced:  each class weighs the same, however many clips it has
    voice:     changes of voice besides `augment`, for spoken words by speakers never heard
    """

    folder: str
    layout: str = "auto"
    subset: str | None = None
    group_by: Any = "fold"
    valid: tuple[str, ...] | None = None
    balanced: bool = False
    label_smoothing: float = 0.1
    augment: Augmentation = DEFAULT
    voice: VoiceChange | None = None
    overfitting: OverfittingRule | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClassifierData:
        """Read the block; ConfigError for unknown keys, wrong values or no data."""
        given = {"folder" if key == "store" else key: value for key, value in values.items()}
        known = [item.name for item in fields(cls)]
        for key, value in given.items():
            if key not in known:
                raise ConfigError(
                    f"unknown key {key!r} in data", seen=value, allowed=", ".join([*known, "store"])
                )
        if not isinstance(given.get("folder"), str) or not given["folder"]:
            raise ConfigError(
                "a classifier needs data",
                seen=given.get("folder"),
                cure="set data.folder to a folder of recordings, or to a prepared store",
            )
        given["valid"] = _read_folds(given.get("valid"))
        _check_values(given)
        given["augment"] = Augmentation.from_dict(given.get("augment"))
        given["voice"] = VoiceChange.from_dict(given.get("voice"))
        given["overfitting"] = OverfittingRule.from_dict(given.get("overfitting"))
        return cls(**given)


def _read_folds(valid: Any) -> tuple[str, ...] | None:
    """Names of folds: one, or a list of them."""
    if valid is None:
        return None
    folds = valid if isinstance(valid, list | tuple) else [valid]
    if not all(isinstance(fold, str | int) and not isinstance(fold, bool) for fold in folds):
        raise ConfigError("data.valid is wrong", seen=valid, allowed="a fold, or a list of folds")
    return tuple(str(fold) for fold in folds)


def _check_values(given: dict[str, Any]) -> None:
    """Raise ConfigError for a plain value of a wrong type or out of range."""
    for key, allowed in (("layout", "a layout"), ("subset", "a folder"), ("group_by", "a word")):
        value = given.get(key)
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"data.{key} is wrong", seen=value, allowed=allowed)
    balanced = given.get("balanced", False)
    if not isinstance(balanced, bool):
        raise ConfigError("data.balanced is wrong", seen=balanced, allowed="true, false")
    smoothing = given.get("label_smoothing", 0.0)
    is_number = isinstance(smoothing, int | float) and not isinstance(smoothing, bool)
    if not is_number or not 0 <= smoothing < 1:
        raise ConfigError("data.label_smoothing is wrong", seen=smoothing, allowed="[0, 1)")
