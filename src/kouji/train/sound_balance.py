"""How a labelled collection is balanced: clips and seconds of each class, over all and by fold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClassCount:
    """One class: clips, seconds, and clips in each fold in the order of `Balance.folds`."""

    label: str
    clips: int
    seconds: float
    per_fold: tuple[int, ...]


@dataclass(frozen=True)
class Balance:
    """All classes in the network's order."""

    classes: tuple[ClassCount, ...]
    folds: tuple[str, ...]

    @property
    def imbalance(self) -> float:
        """Clips of the largest class over those of the smallest; infinite if that has none."""
        counts = [row.clips for row in self.classes]
        fewest = min(counts, default=0)
        return max(counts) / fewest if fewest else float("inf")

    def table(self) -> str:
        """Lines for people: a row per class, the sum, and the imbalance."""
        head = ("class", "clips", "seconds", *(f"fold {fold}" for fold in self.folds))
        rows = [
            (row.label, str(row.clips), f"{row.seconds:.1f}", *map(str, row.per_fold))
            for row in self.classes
        ]
        sums = [sum(column) for column in zip(*(row.per_fold for row in self.classes), strict=True)]
        clips, seconds = (sum(getattr(r, name) for r in self.classes) for name in _SUMMED)
        rows.append(("all", str(clips), f"{seconds:.1f}", *map(str, sums)))
        widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if k == 0 else cell.rjust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (head, *rows)
        ]
        told = f"imbalance {self.imbalance:.2f} (clips of the largest class over the smallest)"
        return "\n".join([*lines, told])

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "imbalance": round(self.imbalance, 4),
            "folds": list(self.folds),
            "classes": [
                {
                    "label": row.label,
                    "clips": row.clips,
                    "seconds": round(row.seconds, 3),
                    "per_fold": dict(zip(self.folds, row.per_fold, strict=True)),
                }
                for row in self.classes
            ],
        }


_SUMMED = ("clips", "seconds")


def count_classes(
    clips: Iterable[tuple[str, str | None, float]], labels: Sequence[str], folds: Sequence[str]
) -> Balance:
    """Count (label, fold, seconds) facts."""
    facts = list(clips)
    rows = []
    for label in labels:
        own = [(fold, seconds) for name, fold, seconds in facts if name == label]
        per_fold = tuple(sum(fold == wanted for fold, _ in own) for wanted in folds)
        rows.append(ClassCount(label, len(own), sum(seconds for _, seconds in own), per_fold))
    return Balance(tuple(rows), tuple(folds))
