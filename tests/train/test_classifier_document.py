"""The document of few wishes: the recipe's own values, wishes over them, either-or pairs whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from kouji.errors import ConfigError
from kouji.train.classifier_document import make_document, read_base, read_defaults
from kouji.train.settings import parse_settings


def test_defaults_are_those_of_the_recipe(root_dir: Path) -> None:
    recipe = yaml.safe_load((root_dir / "recipes/classifier.yaml").read_text("utf-8"))
    defaults = read_defaults()
    assert defaults["model"] == recipe["model"]
    assert recipe["data"] == {**defaults["data"], "folder": "corpus/sounds", "subset": "esc10"}
    own = set(recipe["run"]) - set(defaults["run"])
    assert own == {"out", "seed", "precision", "threads"}
    assert recipe["run"] == {**defaults["run"], **{key: recipe["run"][key] for key in own}}
    assert defaults["run"]["evaluate_epochs"] == 1  # however few epochs are asked for


def test_wishes_lie_over_the_base() -> None:
    made = make_document("d", "o", data={"subset": "a", "valid": None}, run={"seed": 3})
    assert made["recipe"] == "classifier"
    assert made["data"] == {**read_defaults()["data"], "folder": "d", "subset": "a"}
    assert (made["run"]["seed"], made["run"]["out"]) == (3, "o")
    parse_settings(made["run"])


def test_wishes_reach_inside_of_blocks() -> None:
    base = {"data": {"augment": {"noise": 0.5}, "voice": None, "overfitting": False}}
    wishes = {"augment.mixup": 0.1, "voice.speed": 0.2}
    made = make_document("d", "o", base=base, data=wishes)
    assert made["data"]["augment"] == {"noise": 0.5, "mixup": 0.1}
    assert made["data"]["voice"] == {"speed": 0.2}
    assert base["data"]["augment"] == {"noise": 0.5}
    with pytest.raises(ConfigError, match=r"overfitting.*gap"):
        make_document("d", "o", base=base, data={"overfitting.gap": 1.0})


def test_an_empty_wish_takes_a_key_out_of_the_base() -> None:
    base = {"data": {"subset": "fsdd", "augment": {"noise": 0.5}}, "run": {"init_from": "phones"}}
    wishes = {"subset": None, "augment.noise": None, "layout": None}
    made = make_document("d", "o", base=base, data=wishes, run={"init_from": None})
    assert made["data"] == {"folder": "d", "augment": {}}
    assert made["run"] == {"out": "o"}


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
