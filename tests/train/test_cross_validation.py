"""Every fold held out once per seed, in runs that resume; sums that are those of the runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from made_sounds import MODEL, make_sounds

from kouji.errors import ConfigError, TrainingError
from kouji.train import cross_validation, loop
from kouji.train.cross_validation import cross_validate, plan_runs
from kouji.train.recipes import parse_recipe

FOLDS = ("1", "2")


@pytest.fixture
def document(tmp_path: Path, home_dir: Path) -> dict[str, Any]:
    """Three classes of six sounds; two steps a run."""
    return {
        "recipe": "classifier",
        "data": {"folder": str(make_sounds(tmp_path / "sounds"))},
        "model": dict(MODEL),
        "run": {"steps": 2, "batch_size": 6, "threads": 1},
    }


def test_two_folds_and_seeds(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = cross_validate(document, tmp_path / "out", folds=FOLDS, seeds=(0, 1))
    assert [(run.seed, run.fold) for run in result.runs] == [
        (0, "1"), (0, "2"), (1, "1"), (1, "2")
    ]  # fmt: skip
    by_seed = [mean(run.accuracy for run in result.runs if run.seed == seed) for seed in (0, 1)]
    assert result.accuracy == pytest.approx(mean(by_seed))
    assert result.deviation == pytest.approx(stdev(by_seed))
    assert result.confusion.num_clips == sum(run.confusion.num_clips for run in result.runs)
    written = json.loads((tmp_path / "out" / "cross_validation.json").read_text("utf-8"))
    assert written["accuracy"] == pytest.approx(result.accuracy, abs=1e-6)
    assert len(written["runs"]) == 4
    assert (tmp_path / "out" / "confusion.png").exists()
    for run in result.runs:
        report = json.loads(Path(run.folder, "report.json").read_text("utf-8"))
        assert report["held_out"] == [run.fold]
        assert run.confusion.num_clips == report["clips"]["valid"]
    lines = result.table().splitlines()
    assert lines[0].split() == ["fold", "seed", "0", "seed", "1"]
    assert f"{100 * result.accuracy:.2f} ± " in lines[-1]

    def refuse(planned: object) -> str:
        raise AssertionError("a finished fold was trained again")

    monkeypatch.setattr(cross_validation, "run_fold", refuse)
    again = cross_validate(document, tmp_path / "out", folds=FOLDS, seeds=(0, 1))
    assert again.as_dict() == result.as_dict()
    other = {**document, "run": {**document["run"], "learning_rate": 0.5}}
    with pytest.raises(AssertionError, match="trained again"):
        cross_validate(other, tmp_path / "out", folds=FOLDS)


def test_another_recipe_begins_anew(document: dict[str, Any], tmp_path: Path) -> None:
    first = cross_validate(document, tmp_path / "out", folds=FOLDS[:1])
    (Path(first.runs[0].folder) / "left-over").touch()
    document["run"]["steps"] = 1
    again = cross_validate(document, tmp_path / "out", folds=FOLDS[:1])
    assert not (Path(again.runs[0].folder) / "left-over").exists()
    assert json.loads(Path(again.runs[0].folder, "report.json").read_text("utf-8"))["step"] == 1


@pytest.mark.parametrize("every", [0, 2])
def test_a_run_that_was_not_measured_at_its_end_is_measured(
    document: dict[str, Any], tmp_path: Path, every: int
) -> None:
    """Never, or two steps of three before: neither is trained again nor taken as it is."""
    document["run"]["steps"] = 3
    expected = cross_validate(document, tmp_path / "whole", folds=FOLDS[:1]).runs[0]
    planned = plan_runs(document, tmp_path / "out", FOLDS[:1], (0,), 1)[0]
    planned.folder.mkdir(parents=True)
    planned.recipe_file.write_text(json.dumps(planned.document), encoding="utf-8")
    recipe, settings = parse_recipe(planned.document, "the recipe")
    loop.run(recipe, replace(settings, evaluate_every=every))
    before = json.loads((planned.folder / "report.json").read_text("utf-8"))
    assert (before["status"], before["evaluated_step"]) == ("finished", every or None)
    assert (before["classes"] is None) == (every == 0)
    (planned.folder / "still-here").touch()

    found = cross_validate(document, tmp_path / "out", folds=FOLDS[:1]).runs[0]
    assert (planned.folder / "still-here").exists()
    assert found.confusion.counts.tolist() == expected.confusion.counts.tolist()
    report = json.loads((planned.folder / "report.json").read_text("utf-8"))
    assert (report["step"], report["evaluated_step"]) == (3, 3)


def test_processes_find_the_same(document: dict[str, Any], tmp_path: Path) -> None:
    here = cross_validate(document, tmp_path / "here", folds=FOLDS)
    there = cross_validate(document, tmp_path / "there", folds=FOLDS, jobs=2)
    for one, other in zip(here.runs, there.runs, strict=True):
        assert one.confusion.counts.tolist() == other.confusion.counts.tolist()


def test_an_interrupted_fold_is_no_figure(
    document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_validation, "run_fold", lambda planned: "interrupted")
    with pytest.raises(TrainingError, match="start it again"):
        cross_validate(document, tmp_path / "out", folds=FOLDS)
    assert not (tmp_path / "out" / "cross_validation.json").exists()


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ({"steps": 100}, {"evaluate_every": 100}),
        ({"steps": 100, "evaluate_every": 20}, {"evaluate_every": 20}),
        ({"steps": 100, "evaluate_every": 30}, {"evaluate_every": 100}),
        ({"epochs": 30, "evaluate_epochs": 4}, {"evaluate_epochs": 3}),
        ({"epochs": 30}, {"evaluate_epochs": 30}),
        ({"epochs": 30, "evaluate_epochs": 10}, {"evaluate_epochs": 10}),
    ],
)
def test_each_run_is_measured_at_its_end(
    tmp_path: Path, run: dict[str, Any], expected: dict[str, Any]
) -> None:
    planned = plan_runs({"data": {}, "run": run}, tmp_path, ["a/b"], [7], 1)[0]
    assert expected.items() <= planned.document["run"].items()
    assert planned.document["run"]["seed"] == 7
    assert planned.document["data"] == {"valid": ["a/b"]}
    assert planned.folder == tmp_path / "fold-a_b-seed-7"
    assert "seed" not in run


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_wrong_seeds_are_named(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        plan_runs({}, tmp_path, ["1"], seeds, 1)


def test_a_fold_there_is_not(document: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such fold"):
        cross_validate(document, tmp_path / "out", folds=("9",))
