"""The yardstick of benchmarks/engine.py: GPT-SoVITS the way the official code runs it.

Float32, one request after another, one text at a time, key-value caches grown by concatenation,
a generator of plain 1-D convolutions. Official sizes with seeded random weights, since no
official weights are at hand; the work does not depend on what the weights say.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.gpt_sovits.config import SoVITSConfig, T2SConfig
from kouji.models.gpt_sovits.keys import expected_sovits, expected_t2s
from kouji.models.gpt_sovits.sovits import SoVITS
from kouji.models.gpt_sovits.t2s import T2S

Weights = dict[str, Tensor]
CERTAINTY = 3.0  # without, no token is likelier than another by what rounding could not hide


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Weights:
    """Seeded weights of a sane scale: gains of one, everything else small."""
    rng = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        fan_in = max(1, torch.Size(shape[1:]).numel())
        values = torch.randn(shape, generator=rng) / fan_in**0.5
        if name.endswith(("gamma", "norm1.weight", "norm2.weight", "weight_g", "alpha")):
            values = torch.ones(shape)
        weights[name] = values
    return weights


def official_t2s(seed: int = 0) -> T2S:
    """The T2S network of v2 and later, as sure of its tokens as a trained one."""
    config = T2SConfig()
    weights = random_weights(expected_t2s(config), seed)
    weights["model.ar_predict_layer.weight"] *= CERTAINTY
    return T2S.from_state(weights, {})


def official_sovits(version: str = "v2", seed: int = 1) -> tuple[SoVITS, Weights]:
    """A renderer and the official weights it was made of."""
    config = SIZES[version]
    weights = random_weights(expected_sovits(config), seed)
    return SoVITS.from_state(weights, config), weights


SIZES = {
    "v2": SoVITSConfig(),
    "v2ProPlus": SoVITSConfig(
        version="v2ProPlus",
        style_channels=1024,
        speaker_channels=20480,
        generator_channels=768,
        upsample_kernels=(20, 16, 8, 2, 2),
    ),
}


class PlainGenerator:
    """The official generator, convolution by convolution, channels first."""

    def __init__(self, config: SoVITSConfig, weights: Weights) -> None:
        self.config = config
        self.weights = {name: value for name, value in weights.items() if name.startswith("dec.")}
        for name in [name for name in self.weights if name.endswith("weight_g")]:
            stem = name.removesuffix("weight_g")
            direction = self.weights.pop(stem + "weight_v")
            norm = direction.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            self.weights[stem + "weight"] = self.weights.pop(name) * direction / norm

    @torch.inference_mode()
    def __call__(self, latents: Tensor, style: Tensor) -> Tensor:
        """(batch, frames, latent), (batch, channels) -> (batch, samples)."""
        sizes = self.config
        x = self._conv("dec.conv_pre", latents.transpose(1, 2), 3)
        x = x + self._conv("dec.cond", style[:, :, None], 0)
        blocks = len(sizes.resblock_kernels)
        for stage, (rate, taps) in enumerate(
            zip(sizes.upsample_rates, sizes.upsample_kernels, strict=True)
        ):
            name = f"dec.ups.{stage}"
            weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
            x = F.conv_transpose1d(
                F.leaky_relu(x, 0.1), weight, bias, rate, padding=(taps - rate) // 2
            )
            x = sum(self._block(stage * blocks + i, x) for i in range(blocks)) / blocks
        return torch.tanh(self._conv("dec.conv_post", F.leaky_relu(x), 3))[:, 0]

    def _block(self, number: int, x: Tensor) -> Tensor:
        index = number % len(self.config.resblock_kernels)
        half = self.config.resblock_kernels[index] // 2
        for pair, dilation in enumerate(self.config.resblock_dilations[index]):
            name = f"dec.resblocks.{number}.convs"
            y = F.leaky_relu(x, 0.1)
            y = self._conv(f"{name}1.{pair}", y, half * dilation, dilation)
            x = x + self._conv(f"{name}2.{pair}", F.leaky_relu(y, 0.1), half)
        return x

    def _conv(self, name: str, x: Tensor, padding: int, dilation: int = 1) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return F.conv1d(x, weight, bias, padding=padding, dilation=dilation)
