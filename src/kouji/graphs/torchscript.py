"""TorchScript: a traced graph that `torch.jit.load` opens, in Python or in C++.

Tracing records what happens to one input; the graphs of this room ask nothing of their input but
its shape, so that the record is true for others.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from kouji.graphs.stage import Stage, Tensors

SUFFIX = ".torchscript"
METADATA_FILE = "metadata.json"


def write(stage: Stage, path: Path, metadata: Mapping[str, Any]) -> None:
    """Trace a stage and write it, with its metadata as an extra file inside."""
    with torch.no_grad(), warnings.catch_warnings():
        # PyTorch advises torch.export instead, which is written beside it.
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        traced = trace(stage.graph, stage.make_inputs(stage.made_with), check_trace=False)
        traced.save(str(path), _extra_files={METADATA_FILE: json.dumps(metadata)})


def open_file(path: Path) -> Callable[[Tensors], Tensors]:
    """A function that runs the file by PyTorch's TorchScript runtime."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load: Any = torch.jit.load
        graph = load(str(path), map_location="cpu")

    def run(inputs: Tensors) -> Tensors:
        with torch.no_grad():
            made = graph(*inputs)
        return made if isinstance(made, tuple) else (made,)

    return run


def runtime() -> str:
    """What runs such a file."""
    return f"torch.jit {torch.__version__}"
