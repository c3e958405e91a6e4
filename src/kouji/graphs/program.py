"""`torch.export` programs (.pt2): a graph of ATen operators, for PyTorch and its compilers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from kouji.graphs.stage import Stage, Tensors

SUFFIX = ".pt2"
METADATA_FILE = "metadata.json"


def write(stage: Stage, path: Path, metadata: Mapping[str, Any]) -> None:
    """Export a stage and write it, with its metadata as an extra file inside."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(
            stage.graph,
            stage.make_inputs(stage.made_with),
            dynamic_shapes=stage.dynamic_shapes(),
            strict=False,
        )
        torch.export.save(exported, path, extra_files={METADATA_FILE: json.dumps(metadata)})


def open_file(path: Path) -> Callable[[Tensors], Tensors]:
    """A function that runs the file by PyTorch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch.export.load(path).module()

    def run(inputs: Tensors) -> Tensors:
        with torch.no_grad():
            made = graph(*inputs)
        return tuple(made) if isinstance(made, tuple | list) else (made,)

    return run


def runtime() -> str:
    """What runs such a file."""
    return f"torch.export {torch.__version__}"
