"""Settings are read strictly, and recipes are found by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from toy_recipe import NamedRecipe

from kouji.errors import ConfigError
from kouji.train.recipes import RECIPES, load_recipe
from kouji.train.settings import RunSettings, change_settings, parse_settings


def test_unknown_key_names_the_key_and_the_allowed_ones() -> None:
    with pytest.raises(ConfigError, match=r"'learning_rat'.*allowed: .*learning_rate, betas"):
        parse_settings({"batch_size": 4, "learning_rat": 1})


def test_values_of_yaml_become_settings() -> None:
    settings = parse_settings({"batch_seconds": 90, "betas": [0.8, 0.99], "decay": "linear"})
    assert settings.batch_seconds == 90.0
    assert isinstance(settings.batch_seconds, float)
    assert settings.betas == (0.8, 0.99)
    assert parse_settings({"batch_size": 1, "learning_rate": "1e-3"}).learning_rate == 1e-3
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one of batch_seconds and batch_size"),
        ({"batch_size": 4, "batch_seconds": 9}, "exactly one"),
        ({"batch_size": 4.5}, r"run.batch_size has a wrong type.*allowed: int"),
        ({"batch_size": True}, "run.batch_size has a wrong type"),
        ({"batch_size": 4, "precision": "fp8"}, "float32, bfloat16, float16"),
        ({"batch_size": 4, "decay": "steps"}, "cosine, linear, exponential, constant"),
        ({"batch_size": 4, "betas": [0.9]}, "two numbers"),
        ({"batch_size": 4, "betas": 0.9}, "two numbers"),
        ({"batch_size": 4, "steps": -1}, "run.steps is too small"),
        ({"batch_size": 4, "steps": 5, "epochs": 2}, "as steps or as epochs says"),
        ({"batch_size": 4, "patience": 2}, "patience counts evaluations.*evaluate_epochs"),
        ({"batch_size": 4, "strategy": "zero1"}, "auto, single, ddp, zero2, zero3"),
        ({"batch_size": 4, "learning_rate": 0}, "run.learning_rate is too small"),
        ({"batch_size": 4, "learning_rate": float("nan")}, "run.learning_rate is too small"),
        ({"batch_size": 4, "learning_rate": "1e-3x"}, "wrong type"),
        ({"batch_size": 4, "ema_decay": 1}, "run.ema_decay is too large"),
        ({"batch_size": 4, "min_seconds": 5, "max_seconds": 2}, "lies below"),
        ({"batch_size": 4, "divergence_factor": 1}, "divergence_factor"),
        ({"batch_size": 4, "threads": -1}, "run.threads is too small"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_settings(values)


def test_changing_one_of_a_pair_takes_back_the_other() -> None:
    settings = parse_settings({"batch_size": 4, "epochs": 3})
    changed = change_settings(settings, {"steps": 7, "batch_seconds": 9})
    assert (changed.steps, changed.epochs) == (7, 0)
    assert (changed.batch_size, changed.batch_seconds) == (0, 9.0)
    assert change_settings(changed, {"epochs": 2}).steps == 0
    with pytest.raises(ConfigError, match="as steps or as epochs says"):
        change_settings(settings, {"steps": 7, "epochs": 2})


def test_recipe_is_built_from_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "named", "toy_recipe:NamedRecipe")
    file = tmp_path / "r.yaml"
    file.write_text("recipe: named\ndata: {count: 9}\nrun: {batch_size: 3, seed: 5}\n")
    recipe, settings = load_recipe(file)
    assert isinstance(recipe, NamedRecipe)
    assert (recipe.count, recipe.width, settings.seed) == (9, 4, 5)
    assert recipe.config == {"data": {"count": 9}, "model": {}}
    assert settings == RunSettings(batch_size=3, seed=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recipe: nobody", "unknown recipe.*seen: nobody.*mini-acoustic"),
        ("recipe: mini-acoustic\nmodell: {}", "unknown key 'modell'.*recipe, data, model, run"),
        ("recipe: mini-acoustic\nrun: 3", "run in .* is not a mapping"),
        ("- a list", "not a mapping"),
        ("recipe: [", "not YAML"),
        ("recipe: !!python/object:os.system {}", "not YAML"),
    ],
)
def test_wrong_recipe_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_recipe(file)


def test_missing_recipe_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_recipe(tmp_path / "nowhere.yaml")
