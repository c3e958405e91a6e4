"""Tables of names and shapes that repeat: what a network's tensors are called, by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from kouji.models.archives.key_report import Shape, Shapes


def affine(name: str, out: int, *rest: int) -> Shapes:
    """Weight and bias of a linear layer, a convolution (`rest`: inputs, kernel) or a norm."""
    return {f"{name}.weight": (out, *rest), f"{name}.bias": (out,)}


def inside(prefix: str, shapes: Mapping[str, Shape]) -> Shapes:
    """A table under a module's name."""
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def repeat(prefix: str, numbers: Iterable[int], shapes: Callable[[int], Shapes]) -> Shapes:
    """Tables of modules in a list, each by its number."""
    made: Shapes = {}
    for number in numbers:
        made |= inside(f"{prefix}.{number}", shapes(number))
    return made
