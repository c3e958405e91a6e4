"""docs/training.md holds: each setting is there with its default, and its example trains."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import yaml
from toy_recipe import logged, toy_settings

from kouji.train.loop import run
from kouji.train.recipes import RECIPES
from kouji.train.settings import RunSettings, parse_settings


def page(root: Path) -> str:
    return (root / "docs/training.md").read_text(encoding="utf-8")


def test_every_setting_is_explained_with_its_default(root_dir: Path) -> None:
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", page(root_dir).split("## Settings")[1], re.M)
    written: dict[str, str] = {}
    for names, defaults in rows:
        keys = re.findall(r"`(\w+)`", names)
        values = re.split(r", (?![^\[]*\])", defaults.strip("`"))
        written.update(zip(keys, values, strict=True))
    fields = {field.name: field.default for field in dataclasses.fields(RunSettings)}
    assert written.keys() == fields.keys()
    for name, default in fields.items():
        seen: Any = yaml.safe_load(written[name].strip("`"))
        unset = written[name] == "–"
        assert unset or RunSettings(**{"batch_size": 1, name: _typed(seen, default)}) == (
            RunSettings(batch_size=1)
        ), name


def _typed(value: Any, default: Any) -> Any:
    if isinstance(default, tuple):
        return tuple(value)
    return float(value) if isinstance(default, float) else value


def test_recipe_file_of_the_page_is_valid(root_dir: Path) -> None:
    block = page(root_dir).split("```yaml\n")[1].split("```")[0]
    document = yaml.safe_load(block)
    assert document["recipe"] in RECIPES
    assert parse_settings(document["run"]).batch_seconds == 90
    for name in RECIPES:
        assert name in block


def test_example_recipe_of_the_page_learns(root_dir: Path, tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(page(root_dir).split("```python\n")[1].split("```")[0], names)
    run(names["Doubling"](), toy_settings(tmp_path, steps=100, learning_rate=0.1))
    assert logged(tmp_path)[-1] < 1e-3
