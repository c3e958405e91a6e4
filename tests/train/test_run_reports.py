"""What a recipe may say of its run: pictures of evaluations, its end, and a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from toy_recipe import ToyRecipe, toy_settings

from kouji.train.loop import run


class Telling(ToyRecipe):
    """Is done after its second evaluation, and tells of both."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**changes)
        self.seen: list[int] = []
        self.drawn: list[int] = []

    @property
    def is_done(self) -> bool:
        return len(self.seen) >= 2

    def observe(self, step: int, figures: dict[str, float]) -> None:
        self.seen.append(step)

    def draw(self, monitor: Any, step: int) -> None:
        assert monitor.is_active
        self.drawn.append(step)

    def state(self) -> list[int]:
        return self.seen

    def restore(self, state: list[int]) -> None:
        self.seen = list(state)

    def report(self) -> dict[str, Any]:
        return {"evaluations": self.seen, "summary": [f"evaluated at {self.seen}"]}


def test_a_recipe_ends_its_run_and_reports(tmp_path: Path, capsys: Any) -> None:
    recipe = Telling()
    result = run(recipe, toy_settings(tmp_path, steps=20, evaluate_every=3))
    assert (result.status, result.step) == ("stopped early", 6)
    assert recipe.drawn == [3, 6]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["status"] == "stopped early"
    assert report["step"] == 6
    assert report["best"] == result.best
    assert report["evaluations"] == [3, 6]
    assert "evaluated at [3, 6]" in capsys.readouterr().err


def test_a_run_that_was_done_stays_done(tmp_path: Path) -> None:
    settings = toy_settings(tmp_path, steps=20, evaluate_every=3)
    run(Telling(), settings)
    again = run(Telling(), settings)
    assert (again.status, again.step) == ("stopped early", 6)


def test_a_recipe_without_a_report_leaves_none(tmp_path: Path) -> None:
    run(ToyRecipe(), toy_settings(tmp_path, steps=2))
    assert not (tmp_path / "report.json").exists()
