"""Confusion matrices: figures counted by hand, tables, and pictures with and without matplotlib."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kouji.errors import DataError
from kouji.train.confusion import MAX_NAMED, Confusion, save_png

LABELS = ("dog", "rain", "saw")


@pytest.fixture
def confusion() -> Confusion:
    """3 dogs heard right, 1 heard as rain; 2 rains right; saw twice heard as dog."""
    return Confusion.of(LABELS, [0, 0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1, 0, 0])


def test_figures_are_those_counted_by_hand(confusion: Confusion) -> None:
    assert confusion.accuracy == 5 / 8
    dog, rain, saw = confusion.figures()
    assert (dog.precision, dog.recall, dog.num_clips) == (3 / 5, 3 / 4, 4)
    assert dog.f1 == pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4))
    assert (rain.precision, rain.recall) == (2 / 3, 1.0)
    assert (saw.precision, saw.recall, saw.f1) == (0.0, 0.0, 0.0)
    assert confusion.macro_f1 == pytest.approx((dog.f1 + rain.f1) / 3)
    assert confusion.most_confused() == [("saw", "dog", 2), ("dog", "rain", 1)]


def test_a_class_nobody_met_does_not_lower_the_mean() -> None:
    assert Confusion.of((*LABELS, "cat"), [0, 1, 2], [0, 1, 2]).macro_f1 == 1.0


def test_no_clips_are_no_error() -> None:
    empty = Confusion(LABELS)
    assert (empty.accuracy, empty.macro_f1, empty.num_clips) == (0.0, 0.0, 0)
    assert empty.picture().ndim == 3
    assert "dog" in empty.table()


def test_folds_are_added(confusion: Confusion) -> None:
    both = confusion + confusion
    assert both.num_clips == 16
    assert both.accuracy == confusion.accuracy
    with pytest.raises(DataError, match="labels differ"):
        _ = confusion + Confusion(("a", "b", "c"))


@pytest.mark.parametrize(("truths", "guesses"), [([0, 1], [0]), ([3], [0]), ([0], [-1])])
def test_what_does_not_fit_is_refused(truths: list[int], guesses: list[int]) -> None:
    with pytest.raises(DataError, match="do not fit"):
        Confusion.of(LABELS, truths, guesses)


def test_tables_have_a_line_a_class(confusion: Confusion) -> None:
    assert confusion.table().splitlines()[1].split() == ["dog", "0.600", "0.750", "0.667", "4"]
    rows = confusion.matrix_table().splitlines()
    assert rows[0].split() == ["0", "1", "2"]
    assert rows[3].split() == ["2", "saw", "2", "0", "0"]
    widths = {len(row) for row in rows}
    assert len(widths) == 1, "columns do not line up"


def test_json_says_it_all(confusion: Confusion) -> None:
    told = confusion.as_dict()
    assert told["classes"]["rain"] == {"precision": 0.666667, "recall": 1.0, "f1": 0.8, "clips": 2}
    assert Confusion(told["labels"], np.array(told["confusion"])).accuracy == confusion.accuracy


def _without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_pictures_need_no_matplotlib(confusion: Confusion, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_matplotlib(monkeypatch)
    picture = confusion.picture()
    size = len(picture) // 3
    assert picture.shape == (3 * size, 3 * size, 3)
    shade = picture[size // 2 :: size, size // 2 :: size].sum(axis=2)
    assert shade[2, 0] < shade[0, 0] < shade[0, 1] < shade[0, 2], "darker is a larger share"
    bars = confusion.f1_picture()
    assert (bars[size // 2] < 100).sum() > (bars[2 * size + size // 2] < 100).sum() == 0


def test_names_are_drawn_where_matplotlib_is(confusion: Confusion) -> None:
    pytest.importorskip("matplotlib")
    drawn = Confusion(("a$b$c", "雨声", "saw"), confusion.counts)
    for picture in (drawn.picture(), drawn.f1_picture()):
        assert picture.dtype == np.uint8
        assert len(np.unique(picture)) > 16


def test_many_classes_are_drawn_small() -> None:
    many = Confusion([str(n) for n in range(MAX_NAMED + 1)])
    assert max(many.picture().shape) < 400
    assert max(many.f1_picture().shape) < 400


def test_a_picture_is_a_png_of_these_pixels(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    path = save_png(pixels, tmp_path / "a.png")
    with image.open(path) as read:
        np.testing.assert_array_equal(np.asarray(read.convert("RGB")), pixels)
    assert [item.name for item in tmp_path.iterdir()] == ["a.png"]
