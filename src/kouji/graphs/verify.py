"""Does a written file say what the model says? Tried by its own runtime, on other shapes.

A file that disagrees is removed: what stays on disk was measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kouji.errors import ModelError
from kouji.graphs.stage import Stage, Tensors


@dataclass(frozen=True)
class Agreement:
    """How a file compared with the model.

    max_abs_error: largest difference of any number of any output, over all tried shapes
    tolerance:     what it may be at most
    tried_with:    sizes of the named axes, none of them those the file was made with
    """

    max_abs_error: float
    tolerance: float
    tried_with: tuple[dict[str, int], ...]
    runtime: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "max_abs_error": self.max_abs_error,
            "tolerance": self.tolerance,
            "tried_with": [dict(sizes) for sizes in self.tried_with],
            "runtime": self.runtime,
        }


def verify(
    stage: Stage,
    path: Path,
    open_file: Callable[[Path], Callable[[Tensors], Tensors]],
    runtime: str,
) -> Agreement:
    """Compare a written file with the model.

    open_file: of its format: a function that runs the file
    runtime:   by which library, with its version
    raises:    ModelError where it disagrees or does not run; the file is removed then
    """
    try:
        run = open_file(path)
        error = max(_compare(stage, run, sizes) for sizes in stage.tried_with)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    tried = tuple(dict(sizes) for sizes in stage.tried_with)
    return Agreement(error, stage.tolerance, tried, runtime)


def _compare(stage: Stage, run: Callable[[Tensors], Tensors], sizes: Any) -> float:
    """The largest difference on inputs of these sizes; ModelError beyond the tolerance."""
    inputs = stage.make_inputs(sizes)
    with torch.inference_mode():
        wanted = stage.model(*inputs)
    try:
        made = run(tuple(value.clone() for value in inputs))
    except Exception as error:  # each runtime has errors of its own
        raise _disagreement(stage, f"at {dict(sizes)}: {error}") from error
    if [tuple(value.shape) for value in made] != [tuple(value.shape) for value in wanted]:
        shapes = [tuple(value.shape) for value in made]
        raise _disagreement(stage, f"shapes {shapes} at {dict(sizes)}")
    differences = [
        float((ours.double() - theirs.double()).abs().max()) if ours.numel() else 0.0
        for ours, theirs in zip(wanted, made, strict=True)
    ]
    # Not `max(...) > tolerance`: a difference that is no number must fail too.
    if not all(difference <= stage.tolerance for difference in differences):
        raise _disagreement(stage, f"differences {differences} at {dict(sizes)}")
    return max(differences)


def _disagreement(stage: Stage, seen: str) -> ModelError:
    return ModelError(
        f"the exported graph of {stage.name} does not agree with the model",
        seen=" ".join(seen.split())[:500],
        allowed=f"differences up to {stage.tolerance:g}",
        cure="nothing was kept; try another version of torch, onnx or onnxruntime",
    )
