"""The document of few wishes: the recipe's own values, wishes over them, either-or pairs whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kouji.errors import ConfigError
from kouji.train.classifier_document import DEFAULTS, make_document, read_base
from kouji.train.settings import parse_settings

# Of the recipe; what is not here suits its data, or the machine it was measured on.
SHARED = ("batch_size", "learning_rate", "weight_decay", "warmup_steps", "ema_decay")


def test_defaults_are_those_of_the_recipe(root_dir: Path) -> None:
    recipe = yaml.safe_load((root_dir / "recipes/classifier.yaml").read_text("utf-8"))
    assert recipe["model"] == DEFAULTS["model"]
    assert {key: recipe["run"][key] for key in SHARED} == {
        key: DEFAULTS["run"][key] for key in SHARED
    }


def test_wishes_lie_over_the_base() -> None:
    made = make_document("d", "o", data={"subset": "a", "valid": None}, run={"seed": 3})
    assert made["recipe"] == "classifier"
    assert made["data"] == {**DEFAULTS["data"], "folder": "d", "subset": "a"}
    assert (made["run"]["seed"], made["run"]["out"]) == (3, "o")
    assert "seed" not in DEFAULTS["run"]
    parse_settings(made["run"])


@pytest.mark.parametrize(
    ("wish", "gone"),
    [({"steps": 9}, "epochs"), ({"batch_seconds": 60.0}, "batch_size"), ({"epochs": 2}, "steps")],
)
def test_naming_one_of_a_pair_takes_back_the_other(wish: dict[str, float], gone: str) -> None:
    made = make_document("d", "o", run=wish)
    assert gone not in made["run"]
    parse_settings(made["run"])


@pytest.mark.parametrize(
    "text", ["[1]", "recipe: mini-acoustic", "a: b: c", "recipe: classifier\nrun: 3"]
)
def test_bases_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_base(path)
    with pytest.raises(ConfigError):
        read_base(tmp_path / "none.yaml")
