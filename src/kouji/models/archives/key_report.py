"""How the tensors of a file differ from what its network needs, in lines people can read.

A report groups names by their numbers, `model.h.layers.{0..23}.linear1.weight`, so that a wrong
file reads in a few lines and not in eight hundred. Knows names and shapes, never values.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from kouji.models.archives.pickles import printable

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_MOST_LINES = 6  # of each sort in a report


@dataclass(frozen=True)
class KeyReport:
    """How the tensors of a file differ from what its sizes demand, in grouped lines."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()

    @property
    def is_fitting(self) -> bool:
        """True if nothing differs."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        """All of it in one line."""
        sorts = {"missing": self.missing, "unexpected": self.unexpected}
        sorts["wrong shape"] = self.misshapen
        return "; ".join(f"{sort}: {_listed(lines)}" for sort, lines in sorts.items() if lines)


def compare_keys(
    weight: Mapping[str, Tensor],
    expected: Mapping[str, Shape],
    is_optional: Callable[[str], bool] = lambda _: False,
) -> KeyReport:
    """Compare names and shapes.

    is_optional: of a name: nobody reads it, so it may be there or not, in any shape
    """
    needed = {name for name in expected if not is_optional(name)}
    surplus = weight.keys() - expected.keys()
    shapes: dict[tuple[Shape, Shape], list[str]] = defaultdict(list)
    for name in needed & weight.keys():
        seen = tuple(weight[name].shape)
        if seen != expected[name]:
            shapes[seen, expected[name]].append(name)
    misshapen = [
        f"{line} is {_sizes(seen)}, not {_sizes(wanted)}"
        for (seen, wanted), names in shapes.items()
        for line in group_names(names)
    ]
    return KeyReport(
        group_names(needed - weight.keys()),
        group_names(name for name in surplus if not is_optional(name)),
        tuple(sorted(misshapen)),
    )


def group_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names that differ only by numbers as one line, `model.h.layers.{0..23}.norm1.bias`."""
    groups: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for name in names:
        shown = printable(name, 160).replace("{", "(").replace("}", ")")
        indices = tuple(int(found[:9]) for found in _NUMBER.findall(shown))
        groups[_NUMBER.sub("{}", shown)].append(indices)
    return tuple(sorted(_grouped(pattern, indices) for pattern, indices in groups.items()))


def _grouped(pattern: str, indices: list[tuple[int, ...]]) -> str:
    axes = [sorted(set(axis)) for axis in zip(*indices, strict=True)]
    line = pattern.format(*map(_span, axes))
    is_full = prod(map(len, axes)) == len(set(indices))
    return line if is_full else f"{line} ({len(indices)} of these)"


def _span(numbers: list[int]) -> str:
    """`7`, `{0..23}` or `{0,2,4}`."""
    first, last = numbers[0], numbers[-1]
    if len(numbers) == 1:
        return str(first)
    if last - first + 1 == len(numbers):
        return f"{{{first}..{last}}}"
    return "{" + ",".join(map(str, numbers[:12])) + (",..." if len(numbers) > 12 else "") + "}"


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a number"


def _listed(lines: tuple[str, ...]) -> str:
    more = len(lines) - _MOST_LINES
    return ", ".join(lines[:_MOST_LINES]) + (f" and {more} more groups" if more > 0 else "")
