"""ONNX: one file with its weights inside, for onnxruntime and others.

Written by PyTorch's exporter on `torch.export`, which needs the libraries of the extra `export`;
running a file needs onnxruntime alone.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kouji.graphs.stage import Stage, Tensors
from kouji.models.optional import import_library

SUFFIX = ".onnx"
OPSET = 18  # the oldest that PyTorch's exporter writes itself; onnxruntime knows it since 1.14


def write(stage: Stage, path: Path, metadata: Mapping[str, Any]) -> None:
    """Export a stage with named axes; its metadata stands in the file, each value as JSON or text.

    raises: UsageError where onnx or onnxscript is missing
    """
    for library in ("onnx", "onnxscript"):
        import_library(library, "writing ONNX files", extra="export")
    with torch.no_grad(), _silence():
        program = torch.onnx.export(
            stage.graph,
            stage.make_inputs(stage.made_with),
            dynamo=True,
            opset_version=OPSET,
            input_names=[port.name for port in stage.inputs],
            output_names=[port.name for port in stage.outputs],
            dynamic_shapes=stage.dynamic_shapes(),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    for name, value in metadata.items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        program.model.metadata_props[name] = text
    program.save(str(path), external_data=False)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what the exporter prints, warns of and logs (its progress, torchvision's absence)."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def open_file(path: Path) -> Callable[[Tensors], Tensors]:
    """A function that runs the file by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(inputs: Tensors) -> Tensors:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return tuple(torch.from_numpy(array) for array in session.run(None, given))

    return run


def runtime() -> str:
    """What runs such a file."""
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"
