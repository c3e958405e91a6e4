"""ERes2NetV2: 16 kHz speech to the speaker vector that v2Pro and v2ProPlus hear.

The network of Chen et al. 2024 ("ERes2NetV2: Boosting Short-Duration Speaker Verification"),
up to the fused feature map: GPT-SoVITS takes that, averaged over time, in the place of the
pooled embedding, so pooling and the last linear layer are not built. Batch norms are folded
into the convolutions at load.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import hardtanh, relu, silu
from torch.nn.utils.fusion import fuse_conv_bn_eval

from kouji.audio.fbank import ERES2NET_FBANK, kaldi_fbank
from kouji.errors import ModelError, UsageError
from kouji.models.gpt_sovits import pretrained
from kouji.models.unfilled import without_initial_values

SAMPLE_RATE = ERES2NET_FBANK.sample_rate
_STRIDES = (1, 2, 2, 2)
_FUSED_STAGES = (3, 4)  # whose blocks weigh their parts by attention
_UNUSED = ("pool.", "seg_1.", "seg_2.", "seg_bn_1.")  # of the file: what follows the feature map


@dataclass(frozen=True)
class Eres2NetConfig:
    """Sizes, all read off the tensors; official: 64, 24, 4, 4, (3, 4, 6, 3), reduction 4.

    channels:   of the first convolution; stage i has 2^(i-1) times as many
    base_width: channels of one part of a block in the first stage
    scale:      parts of a block
    expansion:  output channels of a block over those of its stage
    blocks:     of each stage
    reduction:  what attention narrows its channels by
    """

    channels: int = 64
    base_width: int = 24
    scale: int = 4
    expansion: int = 4
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    reduction: int = 4

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Eres2NetConfig:
        """Read the sizes off tensor shapes; ModelError where these are of another network."""
        try:
            channels, width = shapes["conv1.weight"][0], shapes["layer1.0.convs.0.weight"][0]
            found = [re.match(r"layer([1-4])\.(\d+)\.conv1\.weight", name) for name in shapes]
            numbers = [(int(match[1]), int(match[2])) for match in found if match]
            counts = [
                1 + max(block for each, block in numbers if each == stage) for stage in (1, 2, 3, 4)
            ]
            return cls(
                channels=channels,
                base_width=width,
                scale=shapes["layer1.0.conv1.weight"][0] // width,
                expansion=shapes["layer1.0.conv3.weight"][0] // channels,
                blocks=(counts[0], counts[1], counts[2], counts[3]),
                reduction=shapes["fuse34.local_att.3.weight"][0]
                // shapes["fuse34.local_att.0.weight"][0],
            )
        except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
            raise ModelError(
                "this is no checkpoint of ERes2NetV2",
                seen=f"{len(shapes)} tensors, the first: {', '.join(list(shapes)[:3])}",
                allowed="pretrained_eres2netv2w24s4ep4.ckpt",
            ) from error


class Eres2Net(nn.Module):
    """The network; build it with `load` or `from_state`."""

    def __init__(self, config: Eres2NetConfig, num_mels: int = ERES2NET_FBANK.num_mels) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(1, config.channels, 3, padding=1, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(config.channels)
        incoming = config.channels
        for stage, (count, stride) in enumerate(zip(config.blocks, _STRIDES, strict=True), 1):
            planes = config.channels << (stage - 1)
            blocks = []
            for index in range(count):
                blocks.append(_Block(config, incoming, planes, stride if index == 0 else 1, stage))
                incoming = planes * config.expansion
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
        self.layer3_ds = nn.Conv2d(incoming // 2, incoming, 3, stride=2, padding=1, bias=False)
        self.fuse34 = _Fusion(incoming, config.reduction)
        self.num_channels = incoming * -(-num_mels // 8)  # 20480: three strides halve the bands

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Eres2Net:
        """Open the official .ckpt; ModelError for what is damaged or does not fit."""
        tensors = pretrained.read_tensors(Path(path), lambda name: name)
        return cls.from_state(dict(tensors)).to(device)

    @classmethod
    def from_state(cls, weights: Mapping[str, Tensor]) -> Eres2Net:
        """Build from a state dict with the official names, in float32 and evaluation mode.

        raises: ModelError naming what is missing, unknown or of another shape
        """
        used = {
            name: value
            for name, value in weights.items()
            if not name.startswith(_UNUSED) and not name.endswith("num_batches_tracked")
        }
        config = Eres2NetConfig.of({name: tuple(value.shape) for name, value in used.items()})
        with without_initial_values():
            network = cls(config)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked = None  # counts training steps, which nobody needs
        pretrained.fill(network, iter(used.items()), "ERes2NetV2")
        _fold_norms(network)
        return network.requires_grad_(False)

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return sum(value.numel() * value.element_size() for value in self.parameters())

    def forward(self, fbank: Tensor) -> Tensor:
        """The time average of the fused feature map.

        fbank:   (batch, frames, mels), of equal length
        returns: (batch, channels * bands), 20480 wide
        """
        x = fbank.transpose(1, 2)[:, None]  # (batch, 1, mels, frames)
        x = relu(self.bn1(self.conv1(x)))  # the one place that is not clipped at 20
        x = self.get_submodule("layer2")(self.get_submodule("layer1")(x))
        third = self.get_submodule("layer3")(x)
        fused = self.fuse34(self.get_submodule("layer4")(third), self.layer3_ds(third))
        averaged: Tensor = fused.flatten(1, 2).mean(-1)
        return averaged

    @torch.inference_mode()
    def embed(self, samples: Tensor) -> Tensor:
        """The speaker vector of a recording.

        samples: (batch, samples) at 16 kHz in [-1, 1], resampled from the 32 kHz reference by
                 `sinc_resample` after the peak rule
        returns: (batch, 20480) float32 on the device of the network
        """
        if samples.dim() != 2 or samples.shape[1] < ERES2NET_FBANK.frame_length:
            raise UsageError(
                "a speaker vector needs a batch of waveforms of at least one frame",
                seen=tuple(samples.shape),
                allowed=f"(batch, samples), {ERES2NET_FBANK.frame_length} samples or more",
            )
        # In float64: bands that are empty but for rounding move by 6e-4 in float32.
        fbank = kaldi_fbank(samples.double(), ERES2NET_FBANK).float()
        embedding: Tensor = self(fbank.to(self.conv1.weight.device))
        return embedding


class _Block(nn.Module):
    """A bottleneck whose middle is cut in parts, each convolved after adding the one before."""

    def __init__(
        self, config: Eres2NetConfig, incoming: int, planes: int, stride: int, stage: int
    ) -> None:
        super().__init__()
        self.width = config.base_width << (stage - 1)
        middle, outgoing = self.width * config.scale, planes * config.expansion
        parts = range(config.scale)
        self.conv1 = nn.Conv2d(incoming, middle, 1, stride=stride, bias=False)
        self.bn1: nn.Module = nn.BatchNorm2d(middle)
        self.convs = nn.ModuleList(
            nn.Conv2d(self.width, self.width, 3, padding=1, bias=False) for _ in parts
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in parts)
        if stage in _FUSED_STAGES:
            self.fuse_models = nn.ModuleList(
                _Fusion(self.width, config.reduction) for _ in parts[1:]
            )
        self.is_fused = stage in _FUSED_STAGES
        self.conv3 = nn.Conv2d(middle, outgoing, 1, bias=False)
        self.bn3: nn.Module = nn.BatchNorm2d(outgoing)
        self.shortcut = nn.Sequential()
        if stride != 1 or incoming != outgoing:
            self.shortcut.append(nn.Conv2d(incoming, outgoing, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outgoing))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, bands, frames) -> (batch, channels, bands, frames)."""
        middle = hardtanh(self.bn1(self.conv1(x)), 0.0, 20.0)
        outputs: list[Tensor] = []
        for index, part in enumerate(torch.split(middle, self.width, dim=1)):
            if index and self.is_fused:
                part = self.fuse_models[index - 1](outputs[-1], part)
            elif index:
                part = outputs[-1] + part
            outputs.append(hardtanh(self.bns[index](self.convs[index](part)), 0.0, 20.0))
        out = self.bn3(self.conv3(torch.cat(outputs, dim=1))) + self.shortcut(x)
        return hardtanh(out, 0.0, 20.0)


class _Fusion(nn.Module):
    """Two maps joined by weights between 0 and 2 that their local attention draws."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        narrow = channels // reduction
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, narrow, 1),
            nn.BatchNorm2d(narrow),
            nn.SiLU(),
            nn.Conv2d(narrow, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Both and the result: (batch, channels, bands, frames)."""
        enter, norm, _, leave, last_norm = self.local_att
        narrow = silu(norm(enter(torch.cat([first, second], dim=1))))
        weight = torch.tanh(last_norm(leave(narrow)))
        return first * (1.0 + weight) + second * (1.0 - weight)


def _fold_norms(network: nn.Module) -> None:
    """Let every convolution do the batch norm after it."""
    for module in list(network.modules()):
        for (holder, conv_name), (norm_holder, norm_name) in _norms_of(module):
            conv, norm = getattr(holder, conv_name), getattr(norm_holder, norm_name)
            setattr(holder, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(norm_holder, norm_name, nn.Identity())


_Place = tuple[nn.Module, str]


def _norms_of(module: nn.Module) -> list[tuple[_Place, _Place]]:
    """Where a module keeps its convolutions and the norms that follow them."""
    pairs: list[tuple[_Place, _Place]] = [
        ((module, f"conv{number}"), (module, f"bn{number}"))
        for number in (1, 3)
        if isinstance(getattr(module, f"bn{number}", None), nn.BatchNorm2d)
    ]
    if isinstance(module, _Block):
        parts = map(str, range(len(module.bns)))
        pairs += [((module.convs, index), (module.bns, index)) for index in parts]
    if isinstance(module, nn.Sequential):
        pairs += [
            ((module, str(index - 1)), (module, str(index)))
            for index, child in enumerate(module)
            if isinstance(child, nn.BatchNorm2d)
        ]
    return pairs
