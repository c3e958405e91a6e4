"""SoVITS networks and inputs that the vectors describe by seeds instead of storing them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gs_networks import seeded_weights
from torch import Tensor

from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.gpt_sovits.sovits import SoVITS
from kouji.models.gpt_sovits.sovits_state import official_name
from kouji.models.layers.time_conv import TimeConv, UpsamplingConv


def det(seed: int, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    """The README's det(): uniform float32."""
    uniform = np.random.RandomState(seed).random_sample(int(np.prod(shape)))
    return torch.from_numpy((low + (high - low) * uniform).astype(np.float32).reshape(shape))


@dataclass(frozen=True)
class Golden:
    """One network of the vectors: its config file, weights, inputs and official outputs."""

    config: dict[str, Any]
    state: dict[str, Tensor]
    arrays: dict[str, np.ndarray]

    @classmethod
    def load(cls, folder: Path, name: str) -> Golden:
        config = json.loads((folder / f"sovits_{name}_config.json").read_text())
        state = seeded_weights(folder / f"sovits_{name}_manifest.json")
        with np.load(folder / f"sovits_{name}.npz") as arrays:
            return cls(config, state, dict(arrays))

    def networks(self) -> SoVITS:
        return SoVITS.from_state(self.state, self.config)

    def array(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    @property
    def seed(self) -> int:
        return int(self.config["input_seed"])

    def reference(self, networks: SoVITS, index: int) -> Tensor:
        """(1, channels): the embedding of one of the two references."""
        bins = networks.config.spectrum_bins
        spectrogram = det(self.seed + 10 + index, 1, bins, 40 + 17 * index, low=0, high=4)
        speaker = None
        if networks.config.has_speaker:
            speaker = det(self.seed + 20 + index, 1, networks.config.speaker_channels)
        return networks.style(spectrogram, speaker)


TINY = SoVITSConfig(
    num_phones=40,
    hidden=32,
    latent=16,
    feed_forward=24,
    token_layers=1,
    text_layers=2,
    joint_layers=1,
    mrte_channels=32,
    style_channels=32,
    style_bins=9,
    style_hidden=8,
    ssl_channels=12,
    codebook_size=50,
    generator_channels=32,
    upsample_rates=(5, 2, 2),
    upsample_kernels=(9, 4, 2),
    resblock_kernels=(3, 5),
    resblock_dilations=((1, 2), (1, 3)),
    num_flows=2,
    flow_layers=2,
    hop_length=20,
)  # all of the real structure at other sizes; 20 samples a frame, so that seconds cost nothing


def tiny_networks(seed: int = 0, **changes: Any) -> SoVITS:
    """Random networks of toy widths through the real loader."""
    config = replace(TINY, **changes)
    return SoVITS.from_state(tiny_state(config, seed), config)


def tiny_state(config: SoVITSConfig, seed: int) -> dict[str, Tensor]:
    """A checkpoint of these sizes under official names, without weight norm."""
    with torch.device("meta"):
        empty = SoVITS(config)
    modules = dict(empty.named_modules())
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for own, value in empty.state_dict().items():
        stem, _, ending = own.rpartition(".")
        module, shape = modules[stem], tuple(value.shape)
        if ending == "weight" and isinstance(module, TimeConv | UpsamplingConv):
            shape = module.official_shape
        fan_in = int(np.prod(shape)) / shape[0] if len(shape) > 1 else 4.0
        drawn = torch.randn(shape, generator=generator) / fan_in**0.5
        state[official_name(own, config)] = drawn + (1.0 if ending == "gamma" else 0.0)
    return state
