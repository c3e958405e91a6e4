"""The vocoders written down plainly, as their papers have them: what the fast ones are held to.

Channels first, float32, one utterance from its first frame on, nothing kept and nothing folded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from kouji.models.cosyvoice.config import MELS, HiftConfig
from kouji.models.cosyvoice.files.keys import G, V, expected_hift

VERSIONS = ("cosyvoice3", "cosyvoice2")
Weights = dict[str, Tensor]


def golden_config(folder: Path) -> HiftConfig:
    """The sizes of a folder of vectors."""
    told = json.loads((folder / "hift" / "config.json").read_text("utf-8"))
    return HiftConfig(
        version=told["version"],
        base_channels=told["base_channels"],
        f0_channels=told["f0_cond_channels"],
    )


def tiny_config(version: Any, base_channels: int = 16) -> HiftConfig:
    return HiftConfig(version=version, base_channels=base_channels, f0_channels=12)


def random_weights(config: HiftConfig, seed: int = 0) -> Weights:
    """Official names and shapes; values at which each layer passes on what it is given.

    The f0 predictor's bias puts most frames between 100 and 300 Hz, some below the threshold.
    """
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, shape in expected_hift(config).items():
        value = torch.randn(shape, generator=generator)
        if name.endswith("alpha"):
            value = 0.3 + value.abs()
        elif name.endswith("bias"):
            value = 0.05 * value
        elif name.endswith(G):
            gain = 0.3 if "convs2" in name else 0.8
            value = torch.full(shape, gain)
        elif not name.endswith(V):
            value = value / (shape[1] * (shape[2] if len(shape) > 2 else 1)) ** 0.5
        weights[name] = value
    weights["f0_predictor.classifier.weight"] *= 400
    weights["f0_predictor.classifier.bias"].fill_(120.0)
    weights[f"conv_post.{G}"] *= 0.5
    weights["m_source.l_linear.weight"].fill_(1.0)
    return weights


def random_mel(num_frames: int, seed: int = 0) -> Tensor:
    """(frames, 80), smooth in time as speech is."""
    noise = torch.randn(num_frames + 8, MELS, generator=torch.Generator().manual_seed(seed))
    return noise.unfold(0, 9, 1).mean(2) * 6 - 4


def overridden(weights: Weights) -> Weights:
    """Golden weights as the token2wav vectors were made with: see their meta.json."""
    gain = f"conv_post.{G}"
    weight, bias = (f"f0_predictor.classifier.{part}" for part in ("weight", "bias"))
    return weights | {
        weight: torch.zeros_like(weights[weight]),
        bias: torch.full_like(weights[bias], 150.0),
        gain: weights[gain] * 0.3,
    }


class GivenNoise:
    """A table in the place of the official noise."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def rows(self, seed: int, start: int, end: int) -> Tensor:
        del seed
        assert end <= len(self.table)
        return self.table[start:end]


class PlainVocoder:
    """Both versions; `noise` is (samples, 9) of the source."""

    def __init__(self, config: HiftConfig, weights: Weights) -> None:
        self.config, self.is_causal = config, config.version == "cosyvoice3"
        self.weights = {name: value.float() for name, value in weights.items()}
        self.window = torch.hann_window(config.n_fft)

    def __call__(self, mel: Tensor, noise: Tensor) -> Tensor:
        """(frames, 80) -> (samples,)."""
        f0 = self.f0(mel)
        return self.body(mel, self.source(f0, noise))

    def f0(self, mel: Tensor) -> Tensor:
        """(frames,) float32; in version 3 computed in float64."""
        x = mel.T[None].to(torch.float64 if self.is_causal else torch.float32)
        for index in (0, 2, 4, 6, 8):
            weight, bias = self._conv(f"f0_predictor.condnet.{index}", x.dtype)
            taps = weight.shape[2] - 1
            around = (taps // 2, taps // 2)
            if self.is_causal:
                around = (0, taps) if index == 0 else (taps, 0)
            x = F.elu(F.conv1d(F.pad(x, around), weight, bias))
        stem = "f0_predictor.classifier"
        linear = [self.weights[f"{stem}.{part}"].to(x.dtype) for part in ("weight", "bias")]
        return F.linear(x[0].T, *linear)[:, 0].abs().float()

    def source(self, f0: Tensor, noise: Tensor) -> Tensor:
        """(samples,) from (frames,) and (samples, 9)."""
        rate, hop = 24_000, 480
        harmonics = torch.arange(1, self.config.num_harmonics + 2)
        steps = (f0[:, None] * harmonics / rate) % 1
        phases = (torch.cumsum(steps, dim=0) * 2 * torch.pi * hop).T[None]
        form = "nearest" if self.is_causal else "linear"
        sines = (
            self.config.sine_amplitude * F.interpolate(phases, scale_factor=hop, mode=form).sin()
        )
        voiced = (f0 > self.config.voiced_threshold_hz).float().repeat_interleave(hop)[:, None]
        level = voiced * self.config.noise_sigma + (1 - voiced) * self.config.sine_amplitude / 3
        mixed = sines[0].T * voiced + level * noise[: len(voiced)]
        parts = [self.weights[f"m_source.l_linear.{part}"] for part in ("weight", "bias")]
        return F.linear(mixed, *parts)[:, 0].tanh()

    def body(self, mel: Tensor, source: Tensor) -> Tensor:
        """(samples,) from (frames, 80) and (samples,)."""
        config = self.config
        n_fft, hop, num_kinds = config.n_fft, config.hop_length, len(config.resblock_kernels)
        spectrum = torch.stft(source, n_fft, hop, window=self.window, return_complex=True)
        heard = torch.cat([spectrum.real, spectrum.imag])[None]
        weight, bias = self._conv("conv_pre")
        taps = weight.shape[2] - 1
        x = F.conv1d(F.pad(mel.T[None], (0, taps) if self.is_causal else (3, 3)), weight, bias)
        for stage, rate in enumerate(config.upsample_rates):
            x = self._up(F.leaky_relu(x, config.leaky_slope), stage, rate)
            if stage == len(config.upsample_rates) - 1:
                x = F.pad(x, (1, 0), mode="reflect")
            stride = [15, 3, 1][stage]
            weight, bias = (self.weights[f"source_downs.{stage}.{k}"] for k in ("weight", "bias"))
            around = (stride - 1, 0) if self.is_causal else (stride // 2, stride // 2)
            own = F.conv1d(F.pad(heard, around), weight, bias, stride)
            dilations = config.source_dilations[stage]
            x = x + self._block(f"source_resblocks.{stage}", own, dilations)
            blocks = [
                self._block(f"resblocks.{stage * num_kinds + kind}", x, dilations)
                for kind, dilations in enumerate(config.resblock_dilations)
            ]
            x = torch.stack(blocks).mean(0)
        weight, bias = self._conv("conv_post")
        x = F.conv1d(F.pad(F.leaky_relu(x), self._around(7, 1)), weight, bias)[0]
        bins = n_fft // 2 + 1
        magnitude, phase = x[:bins].exp().clamp(max=100), x[bins:].sin()
        made = torch.polar(magnitude, phase)
        wave = torch.istft(made, n_fft, hop, window=self.window)
        return wave.clamp(-config.audio_limit, config.audio_limit)

    def _up(self, x: Tensor, stage: int, rate: int) -> Tensor:
        weight, bias = self._conv(f"ups.{stage}")
        taps = weight.shape[2]
        if self.is_causal:
            return F.conv1d(F.pad(x.repeat_interleave(rate, 2), (taps - 1, 0)), weight, bias)
        return F.conv_transpose1d(x, weight, bias, rate, (taps - rate) // 2)

    def _block(self, stem: str, x: Tensor, dilations: tuple[int, ...]) -> Tensor:
        for index, dilation in enumerate(dilations):
            y = self._conv_of(
                self._snake(x, f"{stem}.activations1.{index}"), stem, 1, index, dilation
            )
            y = self._snake(y, f"{stem}.activations2.{index}")
            x = x + self._conv_of(y, stem, 2, index, 1)
        return x

    def _conv_of(self, x: Tensor, stem: str, half: int, index: int, dilation: int) -> Tensor:
        weight, bias = self._conv(f"{stem}.convs{half}.{index}")
        around = self._around(weight.shape[2], dilation)
        return F.conv1d(F.pad(x, around), weight, bias, dilation=dilation)

    def _snake(self, x: Tensor, stem: str) -> Tensor:
        alpha = self.weights[f"{stem}.alpha"][:, None]
        return x + (x * alpha).sin() ** 2 / (alpha + 1e-9)

    def _around(self, taps: int, dilation: int) -> tuple[int, int]:
        reach = dilation * (taps - 1)
        return (reach, 0) if self.is_causal else (reach // 2, reach // 2)

    def _conv(self, stem: str, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        gain, direction, bias = (self.weights[f"{stem}.{k}"].to(dtype) for k in (G, V, "bias"))
        norm = direction.flatten(1).norm(dim=1).reshape(-1, 1, 1)
        return gain * direction / norm, bias
