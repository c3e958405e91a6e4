"""One network to be written as a file: what goes in and out, and how it is tried.

A stage names its axes: those that are words may have any length in every file, those that are
numbers are fixed. Knows no file format and no model family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Sizes = Mapping[str, int]  # of the axes that may have any length
Tensors = tuple[Tensor, ...]


@dataclass(frozen=True)
class Port:
    """One input or output; `axes` holds words for lengths that vary and numbers for fixed ones."""

    name: str
    axes: tuple[str | int, ...]
    dtype: Literal["float32", "int64"] = "float32"
    meaning: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "name": self.name,
            "axes": list(self.axes),
            "dtype": self.dtype,
            "meaning": self.meaning,
        }


@dataclass(frozen=True)
class Stage:
    """A network with its ports.

    graph:       what is written; takes and gives tensors in the order of the ports
    model:       the same by the code that Kouji itself runs: what files are compared with
    make_inputs: inputs of given sizes, the same for the same sizes
    made_with:   sizes of the inputs the graph is recorded with
    tried_with:  other sizes, on which the file has to agree with the model
    tolerance:   largest absolute difference of any number of any output
    """

    name: str
    graph: nn.Module
    model: Callable[..., Tensors]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    make_inputs: Callable[[Sizes], Tensors]
    made_with: Sizes
    tried_with: tuple[Sizes, ...]
    tolerance: float

    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """What `torch.export` is told of the axes, one entry an input."""
        names = {axis for port in self.inputs for axis in port.axes if isinstance(axis, str)}
        # One is a special length to the exporter: it records with two or more and must be told
        # that fewer may come.
        dims = {name: torch.export.Dim(name, min=1) for name in sorted(names)}
        return tuple(
            {place: dims[axis] for place, axis in enumerate(port.axes) if isinstance(axis, str)}
            for port in self.inputs
        )
