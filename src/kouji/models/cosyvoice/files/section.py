"""A mapping of a model's config; values are asked for by name and checked as they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kouji.errors import ModelError
from kouji.models.archives.pickles import printable


class Section:
    """One mapping; names with dots reach into those inside.

    source: names the file in errors
    """

    def __init__(self, values: Any, source: Path, prefix: str = "") -> None:
        self.values, self.source, self.prefix = values, source, prefix

    def get(self, name: str) -> Any:
        """A value, or None where there is none."""
        value = self.values
        for step in name.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def section(self, name: str) -> Section:
        """A mapping inside."""
        value = self.get(name)
        if not isinstance(value, dict):
            raise self.misfit(name, "a mapping")
        return Section(value, self.source, f"{self.prefix}{name}.")

    def count(self, name: str, *, most: int = 1 << 20) -> int:
        """A positive whole number."""
        value = self.get(name)
        if not is_count(value) or value > most:
            raise self.misfit(name, f"a whole number from 1 to {most}")
        return int(value)

    def number(self, name: str, low: float, high: float) -> float:
        """A number within bounds."""
        value = self.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.misfit(name, "a number")
        if not low <= value <= high:
            raise self.misfit(name, f"from {low:g} to {high:g}")
        return float(value)

    def counts(self, name: str) -> tuple[int, ...]:
        """A list of positive whole numbers."""
        value = self.get(name)
        if not isinstance(value, list) or not value or not all(map(is_count, value)):
            raise self.misfit(name, "a list of whole numbers")
        return tuple(value)

    def lists(self, name: str) -> tuple[tuple[int, ...], ...]:
        """A list of such lists."""
        value = self.get(name)
        if not isinstance(value, list) or not value:
            raise self.misfit(name, "lists of whole numbers")
        for item in value:
            if not isinstance(item, list) or not item or not all(map(is_count, item)):
                raise self.misfit(name, "lists of whole numbers")
        return tuple(map(tuple, value))

    def must(self, **wanted: Any) -> None:
        """Values our networks were written for, where the file names them."""
        for name, value in wanted.items():
            if self.get(name) not in (None, value):
                raise self.misfit(name, repr(value))

    def has(self, **wanted: Any) -> None:
        """Values our networks were written for, which the file must name."""
        for name, value in wanted.items():
            if self.get(name) != value:
                raise self.misfit(name, repr(value))

    def misfit(self, name: str, allowed: str) -> ModelError:
        """The error for a value."""
        value = self.get(name)
        seen = "is missing" if value is None else f"is {printable(repr(value), 80)}"
        return ModelError(
            "a model's config has a value that Kouji's networks do not have",
            seen=f"{self.source}: {self.prefix}{name} {seen}",
            allowed=allowed,
            cure="take the file that came with these weights",
        )


def is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
