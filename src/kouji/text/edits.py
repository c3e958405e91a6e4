"""How many symbols of a sequence another one misses: edit counts by Levenshtein alignment.

Works on any hashable symbols, so words, phones and toned phones are counted by the same
code; used to validate recognisers in training and to rate speech in evaluation.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Errors:
    """Counts of one alignment; `num_reference` symbols were expected."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    num_reference: int = 0

    @property
    def total(self) -> int:
        """All errors together."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference symbol: 0 is perfect, above 1 when much was inserted."""
        if self.num_reference == 0:
            return 0.0 if self.total == 0 else float("inf")
        return self.total / self.num_reference

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.num_reference + other.num_reference,
        )


def count_errors(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> Errors:
    """Align two sequences with the fewest edits (Levenshtein) and count each kind.

    Among alignments of equal cost the one with more substitutions wins, which makes
    the counts independent of the direction of the search.
    """
    # One row of the edit table at a time: (edits, insertions, deletions) per column.
    row = [(column, column, 0) for column in range(len(hypothesis) + 1)]
    for depth, expected in enumerate(reference, start=1):
        above_left, row[0] = row[0], (depth, 0, depth)
        for column, seen in enumerate(hypothesis, start=1):
            above, left = row[column], row[column - 1]
            kept = above_left if expected == seen else (above_left[0] + 1, *above_left[1:])
            deleted = (above[0] + 1, above[1], above[2] + 1)
            inserted = (left[0] + 1, left[1] + 1, left[2])
            above_left, row[column] = above, min(kept, deleted, inserted)
    edits, insertions, deletions = row[-1]
    return Errors(edits - insertions - deletions, deletions, insertions, len(reference))


def pool(errors: Iterable[Errors]) -> Errors:
    """Sum the counts of many utterances: long ones weigh more, as is usual for WER."""
    return sum(errors, Errors())
