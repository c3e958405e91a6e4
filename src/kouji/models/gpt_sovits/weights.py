"""From a checkpoint file to a network: open, tell the version, check every tensor, fold, build.

The tensors of a file are views of it; each is copied to float32 once, so that a network never
depends on the file it came from and loading peaks at one copy of the weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.gpt_sovits.config import SoVITSConfig, T2SConfig
from kouji.models.gpt_sovits.containers import RawCheckpoint, require_speakable
from kouji.models.gpt_sovits.keys import (
    expected_sovits,
    expected_t2s,
    require_keys,
)

_LENGTH, _DIRECTION = ".weight_g", ".weight_v"


def fold_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each direction and length by the weight they stand for.

    weights: `X.weight_g` (first, 1, 1) and `X.weight_v` (first, ...) beside others. The norm runs
             over all axes but the first; of a transposed convolution that is its input.
    returns: `X.weight` = g * v / |v| in float32; other tensors as they are
    raises:  ModelError for a direction without a length
    """
    return dict(_folded(weights))


def _folded(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        base = name.removesuffix(_DIRECTION)
        if name.endswith(_DIRECTION) and base + _LENGTH in weights:
            length = weights[base + _LENGTH].float()
            axes = tuple(range(1, tensor.ndim))
            direction = tensor.float()
            norm = torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
            # A channel trained to nothing has direction 0: its weight is 0, not nan.
            yield base + ".weight", direction * (length / norm.clamp_min(1e-30))
        elif name.endswith(_DIRECTION) or (
            name.endswith(_LENGTH) and name.removesuffix(_LENGTH) + _DIRECTION not in weights
        ):
            raise ModelError("a tensor has lost its weight norm", seen=name)
        elif not name.endswith(_LENGTH):
            yield name, tensor


def t2s_config(checkpoint: RawCheckpoint) -> T2SConfig:
    """Sizes of an opened T2S file, after every tensor was found to fit them."""
    config = T2SConfig.from_checkpoint(checkpoint.config, checkpoint.weight)
    require_keys(checkpoint.weight, expected_t2s(config), checkpoint.path)
    return config


def sovits_config(checkpoint: RawCheckpoint) -> SoVITSConfig:
    """Sizes of an opened SoVITS file, after every tensor was found to fit them."""
    require_speakable(checkpoint)
    config = SoVITSConfig.from_checkpoint(checkpoint.config, checkpoint.weight, checkpoint.version)
    require_keys(checkpoint.weight, expected_sovits(config), checkpoint.path)
    return config
