"""Latent frames to samples (upstream: `dec`), a HiFi-GAN generator; most of the cost of speech.

Each stage upsamples and passes three residual blocks (Kong et al. 2020). A stage runs tile by
tile, a tile with as much context as its kernels see: on a CPU the tile stays in the cache, and the
working memory does not grow with the channels. Tiles, and pieces of a stream, equal the whole:
what a cut edge falsifies lies in the context and is dropped, and at the true ends every layer
pads with zeros as the official network does. The mean over the blocks is folded into the weights
behind it (leaky ReLU passes a positive factor through).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.layers.time_conv import TimeConv, UpsamplingConv

SLOPE = 0.1
LAST_SLOPE = 0.01  # before the last convolution the official network leaves the slope unnamed
EDGE_TAPS = 7  # of the first and the last convolution
TILE_BYTES = 2 * 1024 * 1024  # of one tensor of a tile, per thread; about five are alive
TILE_FRAMES = 4096  # at least: with less, the context costs more than the cache gains


class Signal(NamedTuple):
    """A part of a sequence.

    values: (batch, frames, channels), frames `start` and on
    total:  frames of the whole sequence; zeros lie before the first and after the last
    """

    values: Tensor
    start: int
    total: int


class Stage(nn.Module):
    """One step of upsampling and the residual blocks behind it."""

    def __init__(self, config: SoVITSConfig, index: int) -> None:
        super().__init__()
        width = config.generator_channels >> (index + 1)
        taps, self.rate = config.upsample_kernels[index], config.upsample_rates[index]
        self.up = UpsamplingConv(2 * width, width, taps, self.rate)
        shapes = zip(config.resblock_kernels, config.resblock_dilations, strict=True)
        blocks = [ResidualBlock(width, *shape) for shape in shapes]
        self.blocks = nn.ModuleList(blocks)
        self.reach = max(block.reach for block in blocks)
        self.width = width

    def __call__(self, heard: Signal, start: int, end: int, lengths: Tensor | None) -> Tensor:
        """`forward`, with its type."""
        y: Tensor = super().__call__(heard, start, end, lengths)
        return y

    def forward(self, heard: Signal, start: int, end: int, lengths: Tensor | None) -> Tensor:
        """The sum of the blocks at output frames `start` to `end`.

        heard:   what the stage before it gave, at least `needs(start, end)` of it, within `total`
        lengths: (batch,) valid frames of `heard`; None: all are
        returns: (batch, end - start, width)
        """
        total = heard.total * self.rate
        low, high = max(0, start - self.reach), min(total, end + self.reach)
        first, last = low // self.rate, -(-high // self.rate)
        left, right = max(0, first - self.up.reach), min(heard.total, last + self.up.reach)
        x = heard.values[:, left - heard.start : right - heard.start]
        x = _active(x, SLOPE, _valid(lengths, left, right))
        x = self.up(x)[:, low - left * self.rate : high - left * self.rate]
        upper = None if lengths is None else lengths * self.rate
        return self._blocks(x, _valid(upper, low, high))[:, start - low : end - low]

    def needs(self, start: int, end: int) -> tuple[int, int]:
        """Input frames that output frames `start` to `end` depend on, before any clipping."""
        low, high = start - self.reach, end + self.reach
        return low // self.rate - self.up.reach, -(-high // self.rate) + self.up.reach

    def _blocks(self, x: Tensor, mask: Tensor | None) -> Tensor:
        heard = _active(x, SLOPE, mask)  # the blocks begin alike
        first, *others = self.blocks
        total: Tensor = first(x, heard, mask)
        for block in others:
            total = _add(total, block(x, heard, mask))
        return total


class ResidualBlock(nn.Module):
    """Pairs of convolutions, the first of each dilated; names as in checkpoints."""

    def __init__(self, width: int, taps: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(TimeConv(width, width, taps, dilation=d) for d in dilations)
        self.convs2 = nn.ModuleList(TimeConv(width, width, taps) for _ in dilations)
        self.reach = sum(dilations) * (taps // 2) + len(dilations) * (taps // 2)

    def forward(self, x: Tensor, heard: Tensor, mask: Tensor | None) -> Tensor:
        """x: (batch, frames, width); heard: `x` activated; returns the like of `x`."""
        y = x
        for index, (first, second) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            inner = first(heard if index == 0 else _active(y, SLOPE, mask))
            y = _add(second(_active(inner, SLOPE, mask, may_overwrite=True)), y)
        return y


class Generator(nn.Module):
    """All stages; `context` is how many latent frames a sample sees beyond its own, each side."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        width = config.generator_channels
        self.conv_pre = TimeConv(config.latent, width, EDGE_TAPS)
        self.cond = TimeConv(config.style_channels, width)
        self.steps = tuple(Stage(config, index) for index in range(len(config.upsample_rates)))
        self.stages = nn.ModuleList(self.steps)  # the same modules, for torch to find
        self.conv_post = TimeConv(width >> len(self.steps), 1, EDGE_TAPS, bias=False)
        self.frame_samples = config.frame_samples
        first, last = self._spans(0, self.frame_samples)[0]
        self.context = max(-first, last - 1) + self.conv_pre.reach

    def forward(
        self,
        latents: Tensor,
        style: Tensor,
        lengths: Tensor | None = None,
        start: int = 0,
        end: int | None = None,
    ) -> Tensor:
        """Samples of latent frames `start` to `end`.

        latents: (batch, frames, latent); where the sequence goes on beyond them, at least
                 `context` frames lie before `start` and after `end`
        style:   (batch, channels)
        lengths: (batch,) valid frames, where rows differ; samples beyond them mean nothing
        returns: (batch, (end - start) * frame_samples) float32
        """
        num_frames = latents.shape[1]
        end = num_frames if end is None else end
        spans = self._spans(start * self.frame_samples, end * self.frame_samples)
        low, high = max(0, spans[0][0]), min(num_frames, spans[0][1])
        left = max(0, low - self.conv_pre.reach)
        right = min(num_frames, high + self.conv_pre.reach)
        heard = latents[:, left:right].to(self.conv_pre.weight.dtype)
        mask = _valid(lengths, left, right)
        heard = heard if mask is None else heard * mask.to(heard.dtype)
        told = self.cond(style[:, None].to(heard.dtype))
        first = self.conv_pre(heard)[:, low - left : high - left] + told
        signal, rate = Signal(first, low, num_frames), 1
        for stage, (begin, finish) in zip(self.steps, spans[1:], strict=True):
            valid = None if lengths is None else lengths * rate
            rate *= stage.rate
            total = num_frames * rate
            begin, finish = max(0, begin), min(total, finish)
            if stage is self.steps[-1]:
                return self._finish(stage, signal, start * rate, end * rate, valid)
            signal = Signal(self._tiled(stage, signal, begin, finish, valid), begin, total)
        raise AssertionError("a generator has at least one stage")

    def _tiled(
        self, stage: Stage, heard: Signal, start: int, end: int, lengths: Tensor | None
    ) -> Tensor:
        step = _tile_frames(heard.values, stage.width)
        if end - start <= step:
            return stage(heard, start, end, lengths)
        out = heard.values.new_empty(heard.values.shape[0], end - start, stage.width)
        for low in range(start, end, step):
            high = min(end, low + step)
            out[:, low - start : high - start] = stage(heard, low, high, lengths)
        return out

    def _finish(
        self, stage: Stage, heard: Signal, start: int, end: int, lengths: Tensor | None
    ) -> Tensor:
        """The last stage and what follows it, which has too few channels to be kept whole."""
        step = _tile_frames(heard.values, stage.width)
        if end - start <= step:
            return self._last(stage, heard, start, end, lengths)
        return torch.cat(
            [
                self._last(stage, heard, low, min(end, low + step), lengths)
                for low in range(start, end, step)
            ],
            dim=1,
        )

    def _last(
        self, stage: Stage, heard: Signal, start: int, end: int, lengths: Tensor | None
    ) -> Tensor:
        total, reach = heard.total * stage.rate, self.conv_post.reach
        left, right = max(0, start - reach), min(total, end + reach)
        x = stage(heard, left, right, lengths)
        upper = None if lengths is None else lengths * stage.rate
        y = self.conv_post(_active(x, LAST_SLOPE, _valid(upper, left, right)))
        return torch.tanh(y[:, start - left : end - left, 0].float())

    def _spans(self, start: int, end: int) -> list[tuple[int, int]]:
        """What each stage must give for these samples; entry 0: the first convolution."""
        span = (start - self.conv_post.reach, end + self.conv_post.reach)
        spans = [span]
        for stage in reversed(self.steps):
            span = stage.needs(*span)
            spans.append(span)
        return spans[::-1]


def _tile_frames(like: Tensor, width: int) -> int:
    """Frames of a tile; only a CPU wants tiles."""
    if like.device.type != "cpu":
        return 1 << 30
    room = TILE_BYTES * torch.get_num_threads()
    return max(TILE_FRAMES, room // (width * like.element_size() * like.shape[0]))


def _valid(lengths: Tensor | None, start: int, end: int) -> Tensor | None:
    """(batch, end - start, 1) of positions below `lengths`."""
    if lengths is None:
        return None
    return (torch.arange(start, end, device=lengths.device) < lengths[:, None])[..., None]


def _active(x: Tensor, slope: float, mask: Tensor | None, *, may_overwrite: bool = False) -> Tensor:
    y = F.leaky_relu(x, slope, inplace=may_overwrite and not torch.is_grad_enabled())
    return y if mask is None else y * mask.to(y.dtype)


def _add(total: Tensor, more: Tensor) -> Tensor:
    return total + more if torch.is_grad_enabled() else total.add_(more)
