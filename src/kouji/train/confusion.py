"""Which classes are taken for which: the counts, the figures made of them, tables and pictures.

Rows are what a sound is, columns what was heard. Pictures have names where matplotlib is there,
and plain squares without it. Knows no model and no data set.
"""

from __future__ import annotations

import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.errors import DataError

Picture = NDArray[np.uint8]

MAX_NAMED = 64  # classes whose names and counts are still legible in a picture
_WORST = 5  # confusions named in a report
_DARK, _PALE = np.array([8, 48, 107]), np.array([247, 251, 255])


@dataclass(frozen=True)
class ClassFigures:
    """How one class is told apart; a figure without anything to count is 0.

    precision: of what was heard as this class, the share that is
    recall:    of this class, the share that was heard
    f1:        their harmonic mean
    num_clips: of this class
    """

    label: str
    precision: float
    recall: float
    f1: float
    num_clips: int


class Confusion:
    """Counts of (what it is, what was heard)."""

    def __init__(self, labels: Sequence[str], counts: NDArray[np.int64] | None = None) -> None:
        """Begin with no clips, or with `counts`, (classes, classes)."""
        self.labels = tuple(labels)
        shape = (len(self.labels), len(self.labels))
        given = np.zeros(shape, np.int64) if counts is None else np.asarray(counts, np.int64)
        if given.shape != shape or (given < 0).any():
            raise DataError("counts do not fit the labels", seen=given.shape, allowed=str(shape))
        self.counts = given.copy()

    @classmethod
    def of(cls, labels: Sequence[str], truths: Any, guesses: Any) -> Confusion:
        """Count clips.

        truths, guesses: (clips,) whole numbers, places in `labels`
        raises:          DataError for other lengths or numbers beyond the labels
        """
        confusion = cls(labels)
        confusion.add(truths, guesses)
        return confusion

    def add(self, truths: Any, guesses: Any) -> None:
        """Count more clips; arguments as `of`."""
        rows = np.asarray(truths, np.int64).reshape(-1)
        columns = np.asarray(guesses, np.int64).reshape(-1)
        both = np.concatenate([rows, columns])
        if len(rows) != len(columns) or ((both < 0) | (both >= len(self.labels))).any():
            raise DataError(
                "classes to count do not fit the labels",
                seen=f"{len(rows)} and {len(columns)} clips, {sorted(set(both.tolist()))[-4:]}",
                allowed=f"as many of both, numbers below {len(self.labels)}",
            )
        np.add.at(self.counts, (rows, columns), 1)

    def __add__(self, other: Confusion) -> Confusion:
        """The counts of both, as of two folds."""
        if other.labels != self.labels:
            raise DataError("the labels differ", seen=other.labels[:4], allowed=str(self.labels))
        return Confusion(self.labels, self.counts + other.counts)

    @property
    def num_clips(self) -> int:
        """Clips counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """The share heard as what it is; 0 without clips."""
        return float(np.trace(self.counts)) / max(1, self.num_clips)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that occur or were heard, each counting the same."""
        seen = (self.counts.sum(axis=0) + self.counts.sum(axis=1)) > 0
        figures = [item.f1 for item, is_seen in zip(self.figures(), seen, strict=True) if is_seen]
        return float(np.mean(figures)) if figures else 0.0

    def figures(self) -> tuple[ClassFigures, ...]:
        """Each class, in the order of the labels."""
        right = np.diag(self.counts).astype(np.float64)
        heard, there = self.counts.sum(axis=0), self.counts.sum(axis=1)
        precision, recall = right / np.maximum(1, heard), right / np.maximum(1, there)
        f1 = 2 * right / np.maximum(1, heard + there)
        return tuple(
            ClassFigures(label, float(precision[n]), float(recall[n]), float(f1[n]), int(there[n]))
            for n, label in enumerate(self.labels)
        )

    def most_confused(self, count: int = _WORST) -> list[tuple[str, str, int]]:
        """(what it is, what was heard, how often) of the most frequent mistakes."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        places = zip(*np.unravel_index(order, wrong.shape), strict=True)
        return [
            (self.labels[r], self.labels[c], int(wrong[r, c])) for r, c in places if wrong[r, c]
        ]

    # --- told

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "clips": self.num_clips,
            "accuracy": round(self.accuracy, 6),
            "macro_f1": round(self.macro_f1, 6),
            "classes": {
                item.label: {
                    "precision": round(item.precision, 6),
                    "recall": round(item.recall, 6),
                    "f1": round(item.f1, 6),
                    "clips": item.num_clips,
                }
                for item in self.figures()
            },
            "labels": list(self.labels),
            "confusion": self.counts.tolist(),
        }

    def table(self) -> str:
        """Precision, recall and F1 of each class as lines of text, the whole last."""
        width = max(len("mean"), *(len(label) for label in self.labels))
        lines = [f"{'class':<{width}}  precision  recall      F1  clips"]
        lines += [
            f"{item.label:<{width}}  {item.precision:9.3f}  {item.recall:6.3f}  {item.f1:6.3f}"
            f"  {item.num_clips:5}"
            for item in self.figures()
        ]
        tail = f"accuracy {self.accuracy:.3f}  {self.macro_f1:6.3f}  {self.num_clips:5}"
        return "\n".join([*lines, f"{'mean':<{width}}  {tail}"])

    def matrix_table(self) -> str:
        """The counts as lines of text: rows say what it is, numbered columns what was heard."""
        width = max(len(label) for label in self.labels)
        place = len(str(len(self.labels) - 1))
        cell = max(place, len(str(int(self.counts.max(initial=0)))))
        head = "  ".join(f"{n:>{cell}}" for n in range(len(self.labels)))
        lines = [f"{'':<{place + 1 + width}}  {head}"]
        for number, (label, row) in enumerate(zip(self.labels, self.counts, strict=True)):
            counts = "  ".join(f"{count:>{cell}}" for count in row)
            lines.append(f"{number:>{place}} {label:<{width}}  {counts}")
        return "\n".join(lines)

    # --- drawn

    @property
    def shares(self) -> NDArray[np.float64]:
        """(classes, classes) of each class, the share heard as each; rows sum to 1 or are 0."""
        shares: NDArray[np.float64] = self.counts / np.maximum(1, self.counts.sum(1, keepdims=True))
        return shares

    def picture(self) -> Picture:
        """(rows, columns, 3) the confusion matrix in RGB, darker for a larger share of its row."""
        if len(self.labels) > MAX_NAMED or (drawn := self._named_matrix()) is None:
            return _plain_matrix(self.shares)
        return drawn

    def f1_picture(self) -> Picture:
        """(rows, columns, 3) the F1 of each class as bars, in RGB."""
        f1 = np.array([item.f1 for item in self.figures()])
        if len(self.labels) > MAX_NAMED or (drawn := self._named_bars(f1)) is None:
            return _plain_bars(f1)
        return drawn

    def save_picture(self, path: str | Path) -> Path:
        """Write the confusion matrix as a PNG, whole or not at all."""
        return save_png(self.picture(), path)

    def _named_matrix(self) -> Picture | None:
        if (canvas := _canvas(*self._inches())) is None:
            return None
        axes = canvas.figure.add_subplot()
        shares, names = self.shares, range(len(self.labels))
        axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
        for row, column in zip(*np.nonzero(self.counts), strict=True):
            ink = "white" if shares[row, column] > 0.5 else "black"
            text = str(self.counts[row, column])
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=7)
        _name_ticks(axes.set_xticks, names, self.labels, rotation=90)
        _name_ticks(axes.set_yticks, names, self.labels)
        axes.set(xlabel="heard as", ylabel="is")
        axes.set_title(f"accuracy {self.accuracy:.1%}, {self.num_clips} clips", fontsize=9)
        return _pixels(canvas)

    def _named_bars(self, f1: NDArray[np.float64]) -> Picture | None:
        if (canvas := _canvas(*self._inches())) is None:
            return None
        axes = canvas.figure.add_subplot()
        places = np.arange(len(self.labels))
        axes.barh(places, f1, color=[c / 255 for c in _DARK])
        for place, value in zip(places, f1, strict=True):
            axes.text(1.01, place, f"{value:.2f}", va="center", fontsize=7)
        _name_ticks(axes.set_yticks, places, self.labels)
        axes.set(xlim=(0.0, 1.0), xlabel="F1")
        axes.invert_yaxis()
        axes.set_title(f"macro F1 {self.macro_f1:.3f}", fontsize=9)
        return _pixels(canvas)

    def _inches(self) -> tuple[float, float]:
        longest = max(len(label) for label in self.labels)
        side = 2.0 + 0.07 * longest + 0.3 * len(self.labels)
        return side, side


def _canvas(width: float, height: float) -> Any:
    """A canvas to draw on without a display, or None where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    return FigureCanvasAgg(Figure(figsize=(width, height), dpi=100, layout="constrained"))


def _name_ticks(set_ticks: Any, places: Any, labels: Sequence[str], rotation: int = 0) -> None:
    """Names at the ticks, as they are: a dollar sign begins no formula."""
    set_ticks(places, labels, rotation=rotation, fontsize=8, parse_math=False)


def _pixels(canvas: Any) -> Picture:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without Chinese: boxes in a picture are enough
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _plain_matrix(shares: NDArray[np.float64]) -> Picture:
    """Squares without names, of a size that can be seen."""
    size = max(4, 320 // max(1, len(shares)))
    colours = _PALE + shares[..., None] * (_DARK - _PALE)
    return np.kron(colours, np.ones((size, size, 1))).round().astype(np.uint8)


def _plain_bars(f1: NDArray[np.float64]) -> Picture:
    """Bars without names from the left, one class below the other."""
    size = max(4, 320 // max(1, len(f1)))
    is_bar = (np.arange(320) + 0.5) / 320 < f1[:, None]
    is_bar = np.repeat(is_bar, size, axis=0)
    is_bar[::size] = False  # a gap between the bars
    return np.where(is_bar[..., None], _DARK, _PALE).astype(np.uint8)


def save_png(pixels: Picture, path: str | Path) -> Path:
    """Write (rows, columns, 3) RGB as a PNG beside the target and rename it.

    Thirty bytes of header are less than another library to ask for.
    """
    target = Path(path)
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 6)),
        (b"IEND", b""),
    )
    handle, temporary = tempfile.mkstemp(suffix=".png", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for kind, body in chunks:
                crc = struct.pack(">I", zlib.crc32(kind + body))
                file.write(struct.pack(">I", len(body)) + kind + body + crc)
        Path(temporary).chmod(0o644)
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target
