"""The recipe `classifier`: what every recipe does, shares that add up, folds, starts, reports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from made_sounds import CLASSES, MODEL, make_sounds
from recipe_harness import check_recipe
from toy_recipe import logged, toy_settings

from kouji.errors import ConfigError
from kouji.models.classifier.weights import load_classifier, save_classifier
from kouji.train.classifier import Classifier
from kouji.train.loop import run
from kouji.train.recipes import parse_recipe

QUICK: dict[str, Any] = {"batch_seconds": 0.0, "batch_size": 6, "learning_rate": 2e-3}


@pytest.fixture
def folder(tmp_path: Path, home_dir: Path) -> Path:
    """Three classes of six sounds each, in five folds."""
    return make_sounds(tmp_path / "sounds")


def recipe(folder: Path, model: dict[str, Any] | None = None, **data: Any) -> Classifier:
    return Classifier({"folder": str(folder), **data}, {**MODEL, **(model or {})}, seed=0)


def test_is_a_recipe(folder: Path, tmp_path: Path) -> None:
    check_recipe(recipe(folder, label_smoothing=0.0), tmp_path / "run", **QUICK)


def test_passes_do_not_matter(folder: Path, tmp_path: Path) -> None:
    """No statistics of a batch, and nothing random but what was drawn for each example."""
    model = {"architecture": "convnext", "width": 8}
    curves = []
    for name, changes in (("one", {}), ("passes", {"accumulate": 3})):
        settings = toy_settings(tmp_path / name, steps=4, **QUICK, **changes)
        run(recipe(folder, model, balanced=True), settings)
        curves.append(logged(tmp_path / name))
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


@pytest.mark.parametrize(
    ("architecture", "strategy"), [("convnext", "ddp"), ("resnet18", "ddp"), ("resnet18", "zero3")]
)
def test_two_processes_follow_the_curve_of_one(
    folder: Path, tmp_path: Path, architecture: str, strategy: str
) -> None:
    """Statistics of a batch too are those of all its shares, which are unlike here: 4 and 3."""
    model = {"architecture": architecture, "width": 8}
    for devices in (1, 2):
        settings = toy_settings(
            tmp_path / str(devices), steps=6, evaluate_every=3, **{**QUICK, "batch_size": 7}
        )
        changes = {"devices": devices, "strategy": "auto" if devices == 1 else strategy}
        settings = type(settings)(**{**vars(settings), **changes})
        result = run(recipe(folder, model), settings)
        assert result.status == "finished"
    for kind in ("train", "valid"):
        one, two = (logged(tmp_path / name, kind=kind) for name in ("1", "2"))
        assert one == pytest.approx(two, abs=1e-4)


def test_folds_are_held_out(folder: Path) -> None:
    made = recipe(folder)
    last = made.clips.folds[-1]
    assert made.split.held_out == (last,)
    assert {made.clips.fold(i) for i in made.split.valid} == {last}
    assert last not in {made.clips.fold(i) for i in made.split.train}
    assert len(made.split.train) + len(made.split.valid) == len(made.clips)
    two = recipe(folder, valid=[1, "2"])  # YAML reads numbers
    assert two.split.held_out == ("1", "2")
    assert recipe(folder, valid=[]).split.valid == ()


def test_wrong_folds_are_named(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such fold.*seen: 9.*allowed: 1, 2"):
        recipe(folder, valid=[9]).dataset("train")
    with pytest.raises(ConfigError, match=r"no fold is held out"):
        recipe(folder, valid=[]).dataset("valid")


@pytest.mark.parametrize(
    ("data", "model", "message"),
    [
        ({"folder": ""}, {}, "needs data"),
        ({"colour": 1}, {}, "unknown key 'colour' in data"),
        ({"label_smoothing": 1}, {}, "label_smoothing is wrong"),
        ({}, {"labels": ["a", "b"]}, "labels of a classifier come from its data"),
        ({}, {"depth": 3}, "unknown key in classifier config.*depth"),
        ({}, {"architecture": "vgg"}, "unknown architecture"),
        ({}, {"width": "wide"}, "width.*wrong"),
        ({}, {"width": True}, "width.*wrong"),
        ({}, {"sample_rate": 8000.5}, "sample_rate.*wrong"),
        ({}, {"dropout": "x"}, "dropout.*wrong"),
        ({"valid": 5.0}, {}, "valid is wrong"),
        ({"valid": {"a": 1}}, {}, "valid is wrong"),
        ({"subset": 5}, {}, "subset is wrong"),
        ({"layout": 5}, {}, "layout is wrong"),
        ({"balanced": "maybe"}, {}, "balanced is wrong"),
        ({"label_smoothing": float("nan")}, {}, "label_smoothing is wrong"),
    ],
)
def test_wrong_keys_are_named_before_any_data_is_read(
    data: dict[str, Any], model: dict[str, Any], message: str
) -> None:
    document = {
        "recipe": "classifier",
        "data": {"folder": "nowhere", **data},
        "model": model,
        "run": {"batch_size": 4},
    }
    with pytest.raises(ConfigError, match=message):
        parse_recipe(document, "made.yaml")


def test_learns_evaluates_reports_and_can_be_loaded(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    settings = toy_settings(out, steps=40, evaluate_every=20, ema_decay=0.9, **QUICK)
    made = recipe(folder)
    run(made, settings)
    report = json.loads((out / "report.json").read_text())
    assert report["figures"]["accuracy"] == 1.0
    assert report["figures"]["train_accuracy"] == 1.0
    assert report["classes"]["macro_f1"] == 1.0
    assert report["labels"] == sorted(CLASSES)
    assert report["overfitting"]["answers"] == []
    assert logged(out, "error", "valid")[-1] == 0.0
    loaded = load_classifier(out)
    assert loaded.config == made.shapes
    clip = made.dataset("valid")[0]
    heard = loaded.model(torch.from_numpy(clip.samples)).softmax(1).mean(0).argmax()
    assert int(heard) == clip.label


def test_bfloat16_learns_too(folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(tmp_path, steps=40, precision="bfloat16", **QUICK)
    run(recipe(folder, label_smoothing=0.0), settings)
    losses = logged(tmp_path)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_overfitting_is_answered_alike_after_a_resume(folder: Path, tmp_path: Path) -> None:
    """Labels that mean nothing can be learned by heart only."""
    rule = {"gap": 0.01, "wait": 1, "smoothing": 0.0}

    class Shuffled(Classifier):
        """Validation gets worse from one evaluation to the next."""

        def evaluate(self, *args: Any) -> dict[str, float]:
            figures = super().evaluate(*args)
            self.watch.level  # noqa: B018  it is there
            worse = 5.0 + 0.1 * len(self.watch.answers)
            return {**figures, "loss": worse}

    def make() -> Classifier:
        data = {"folder": str(folder), "overfitting": rule}
        return Shuffled(data, {**MODEL, "dropout": 0.1}, seed=0)

    whole = toy_settings(tmp_path / "whole", steps=20, evaluate_every=2, **QUICK)
    first = make()
    result = run(first, whole)
    assert result.status == "stopped early"
    assert [answer.step for answer in first.watch.answers] == [4, 6, 8]
    report = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert [item["step"] for item in report["overfitting"]["answers"]] == [4, 6, 8]
    parts = toy_settings(tmp_path / "parts", steps=20, evaluate_every=2, **QUICK)
    for steps in (5, 20):
        resumed = make()
        run(resumed, type(parts)(**{**vars(parts), "steps": steps, "decay": "constant"}))
    plain = type(whole)(**{**vars(whole), "out": str(tmp_path / "same"), "decay": "constant"})
    run(make(), plain)
    assert logged(tmp_path / "same") == logged(tmp_path / "parts")
    assert [answer.step for answer in resumed.watch.answers] == [4, 6, 8]


def test_answers_reach_the_model(folder: Path) -> None:
    made = recipe(folder, overfitting={"wait": 1, "gap": 0.1, "smoothing": 0.0})
    model = made.build().train()
    batch = made.collate([made.dataset("train")[0]])
    for step in range(3):
        made.observe(step, {"train_loss": 0.1, "loss": 1.0 + step})
    assert made.watch.level == 2
    made.loss(model, batch, 0, torch.Generator())
    assert model.network.dropout.p == pytest.approx(0.2)
    assert made._augmentation(is_training=True).mixup == pytest.approx(0.75)


def test_balanced_classes_weigh_the_same(folder: Path) -> None:
    for file in sorted((folder / "hiss").iterdir())[3:]:
        file.unlink()
    made = recipe(folder, balanced=True, valid=[])
    weights = made._class_weights
    counts = torch.tensor([6.0, 3.0, 6.0])
    assert made.clips.labels == ("high", "hiss", "low")
    assert (weights * counts).tolist() == pytest.approx([5.0] * 3)


def test_starts_from_a_classifier_with_other_labels(folder: Path, tmp_path: Path) -> None:
    teacher = recipe(folder)
    torch.manual_seed(5)
    model = teacher.build()
    save_classifier(tmp_path / "teacher", model)
    same = teacher.build()
    assert teacher.start_from(same, str(tmp_path / "teacher")).endswith("tensors fit")
    assert torch.allclose(same.network.head.weight, model.network.head.weight, atol=1e-3)
    by_file = teacher.start_from(teacher.build(), str(tmp_path / "teacher/classifier.safetensors"))
    assert by_file.endswith("tensors fit")
    (folder / "low").rename(folder / "deep")
    renamed = recipe(folder)
    other = renamed.build()
    fresh = other.network.head.weight.clone()
    assert "last layer is a fresh one" in renamed.start_from(other, str(tmp_path / "teacher"))
    assert torch.equal(other.network.head.weight, fresh)
    assert torch.allclose(other.network.hidden.weight, model.network.hidden.weight, atol=1e-3)


def test_starts_from_the_shipped_one(folder: Path) -> None:
    shapes = load_classifier().config.to_dict()
    made = recipe(folder, {key: shapes[key] for key in shapes if key != "labels"})
    assert "last layer is a fresh one" in made.start_from(made.build(), "esc10")


def test_a_run_of_another_classifier_is_not_gone_on_with(folder: Path, tmp_path: Path) -> None:
    run(recipe(folder), toy_settings(tmp_path, steps=2, **QUICK))
    (folder / "low").rename(folder / "deep")
    with pytest.raises(ConfigError, match=r"another classifier.*low.*now.*deep"):
        run(recipe(folder), toy_settings(tmp_path, steps=4, **QUICK))


def test_starts_from_a_run(folder: Path, tmp_path: Path) -> None:
    settings = toy_settings(tmp_path / "first", steps=2, **QUICK)
    run(recipe(folder), settings)
    again = toy_settings(tmp_path / "second", steps=1, init_from=str(tmp_path / "first"), **QUICK)
    assert run(recipe(folder), again).step == 1
