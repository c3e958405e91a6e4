"""From a checkpoint file to a network: open, tell the version, check every tensor, build.

The tensors of a file are views of it. A network gets copies in float32, made one by one, so it
never depends on the file it came from and loading peaks at little more than one copy of the
weights. Weight norm is folded where SoVITS is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from kouji.models.gpt_sovits.config import SoVITSConfig, T2SConfig
from kouji.models.gpt_sovits.containers import RawCheckpoint, read_checkpoint, require_speakable
from kouji.models.gpt_sovits.keys import (
    expected_sovits,
    expected_t2s,
    is_training_only,
    require_keys,
)
from kouji.models.gpt_sovits.sovits import SoVITS
from kouji.models.gpt_sovits.t2s import T2S
from kouji.models.unfilled import without_initial_values

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Loaded(Generic[Network]):
    """A network in float32 on the CPU, in evaluation mode, and where it came from.

    version:      as `RawCheckpoint` has it
    content_hash: SHA-256 of the file; equal files are equal weights
    info:         what training wrote about itself
    """

    network: Network
    version: str
    content_hash: str
    path: Path
    info: str


def load_t2s(path: str | Path) -> Loaded[T2S]:
    """Load the decoder of tokens from a .ckpt.

    raises: ModelError for another kind of file, wrong tensors, or anything hostile
    """
    checkpoint = read_checkpoint(path, "t2s")
    t2s_config(checkpoint)
    with without_initial_values():  # drawing them, even on meta, would import torch._dynamo
        network = T2S.from_state(checkpoint.weight, checkpoint.config)  # copies what it takes
    return _loaded(network, checkpoint)


def load_sovits(path: str | Path) -> Loaded[SoVITS]:
    """Load the renderer of v1, v2, v2Pro or v2ProPlus from a .pth.

    raises: ModelError for another kind or version, wrong tensors, or anything hostile
    """
    checkpoint = read_checkpoint(path, "sovits")
    config = sovits_config(checkpoint)
    with without_initial_values():
        network = SoVITS.from_state(Copies(checkpoint.weight), config)
    return _loaded(network, checkpoint)


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


class Copies(Mapping[str, Tensor]):
    """The tensors speaking needs; each access is a fresh copy in float32."""

    def __init__(self, weight: Mapping[str, Tensor]) -> None:
        self._weight = {name: item for name, item in weight.items() if not is_training_only(name)}

    def __getitem__(self, name: str) -> Tensor:
        return self._weight[name].detach().to(torch.float32, copy=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._weight)

    def __len__(self) -> int:
        return len(self._weight)

    def __contains__(self, name: object) -> bool:
        return name in self._weight  # without making a copy


def _loaded(network: Network, checkpoint: RawCheckpoint) -> Loaded[Network]:
    return Loaded(
        network, checkpoint.version, checkpoint.content_hash, checkpoint.path, checkpoint.info
    )
