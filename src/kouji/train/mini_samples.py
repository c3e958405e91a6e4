"""What the recipes of `mini` show in TensorBoard: which clips, and how they are drawn.

Knows examples and models, not the terms of a loss.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kouji.train.recipes import ClipDataset

_SHOWN = 2


def shown_examples(dataset: ClipDataset) -> list[Any]:
    """The same few examples each time: clips of about the median duration, the nearest first."""
    seconds = np.asarray(dataset.lengths(), dtype=np.float64)
    if not len(seconds):
        return []
    order = np.argsort(np.abs(seconds - np.median(seconds)), kind="stable")
    return [dataset[int(index)] for index in order[:_SHOWN]]


def batch_for(
    model: nn.Module, batch: dict[str, Tensor], keep_float32: Collection[str]
) -> dict[str, Tensor]:
    """`batch` on the model's device, in its precision but for what is named."""
    weights = next(model.parameters())
    return {
        name: value.to(weights.device)
        if name in keep_float32 or not value.is_floating_point()
        else value.to(weights.device, weights.dtype)
        for name, value in batch.items()
    }


def alignment_picture(durations: NDArray[np.int64]) -> Tensor:
    """(phones, frames), one where a phone sounds.

    durations: (phones,) frames of each
    """
    rows = torch.arange(len(durations)).repeat_interleave(torch.from_numpy(durations))
    return torch.nn.functional.one_hot(rows, len(durations)).T.float()
