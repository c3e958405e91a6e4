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


class Window(NamedTuple):
    """One row's place in a window of fixed size: sound from `first` to `end`, zeros elsewhere.

    Of the same sizes again and again a CPU prepares its kernels once: each new length costs
    oneDNN some 10 MB of generated code and the time to make it.
    """

    first: int
    end: int

    def at(self, rate: int) -> Window:
        """The same place after upsampling."""
        return Window(self.first * rate, self.end * rate)


Extent = Tensor | Window | None
"""Where rows have sound: (batch,) lengths, a window's place, or everywhere."""
Mask = Tensor | tuple[int, int] | None
"""What to keep of a stretch: factors (batch, frames, 1), the frames between two, or all."""


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

    def __call__(self, heard: Signal, start: int, end: int, extent: Extent) -> Tensor:
        """`forward`, with its type."""
        y: Tensor = super().__call__(heard, start, end, extent)
        return y

    def forward(self, heard: Signal, start: int, end: int, extent: Extent) -> Tensor:
        """The sum of the blocks at output frames `start` to `end`.

        heard:   what the stage before it gave, at least `needs(start, end)` of it, within `total`
        extent:  of `heard`
        returns: (batch, end - start, width)
        """
        total = heard.total * self.rate
        low, high = max(0, start - self.reach), min(total, end + self.reach)
        first, last = low // self.rate, -(-high // self.rate)
        left, right = max(0, first - self.up.reach), min(heard.total, last + self.up.reach)
        x = heard.values[:, left - heard.start : right - heard.start]
        x = _active(x, SLOPE, _valid(extent, left, right))
        x = self.up(x)[:, low - left * self.rate : high - left * self.rate]
        upper = _valid(_scaled(extent, self.rate), low, high)
        return self._blocks(x, upper)[:, start - low : end - low]

    def needs(self, start: int, end: int) -> tuple[int, int]:
        """Input frames that output frames `start` to `end` depend on, before any clipping."""
        low, high = start - self.reach, end + self.reach
        return low // self.rate - self.up.reach, -(-high // self.rate) + self.up.reach

    def _blocks(self, x: Tensor, mask: Mask) -> Tensor:
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

    def forward(self, x: Tensor, heard: Tensor, mask: Mask) -> Tensor:
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
        extent: Extent = None,
        start: int = 0,
        end: int | None = None,
    ) -> Tensor:
        """Samples of latent frames `start` to `end`.

        latents: (batch, frames, latent); where the sequence goes on beyond them, at least
                 `context` frames lie before `start` and after `end`
        style:   (batch, channels)
        extent:  where rows have sound; samples beyond it mean nothing
        returns: (batch, (end - start) * frame_samples) float32
        """
        num_frames = latents.shape[1]
        end = num_frames if end is None else end
        spans = self._spans(start * self.frame_samples, end * self.frame_samples)
        low, high = max(0, spans[0][0]), min(num_frames, spans[0][1])
        left = max(0, low - self.conv_pre.reach)
        right = min(num_frames, high + self.conv_pre.reach)
        heard = latents[:, left:right].to(self.conv_pre.weight.dtype)
        heard = _kept(heard, _valid(extent, left, right))
        told = self.cond(style[:, None].to(heard.dtype))
        first = self.conv_pre(heard)[:, low - left : high - left] + told
        signal, rate = Signal(first, low, num_frames), 1
        for stage, (begin, finish) in zip(self.steps, spans[1:], strict=True):
            valid = _scaled(extent, rate)
            rate *= stage.rate
            total = num_frames * rate
            begin, finish = max(0, begin), min(total, finish)
            if stage is self.steps[-1]:
                return self._finish(stage, signal, start * rate, end * rate, valid)
            signal = Signal(self._tiled(stage, signal, begin, finish, valid), begin, total)
        raise AssertionError("a generator has at least one stage")

    def _tiled(self, stage: Stage, heard: Signal, start: int, end: int, extent: Extent) -> Tensor:
        step = _tile_frames(heard.values, stage.width)
        if end - start <= step:
            return stage(heard, start, end, extent)
        out = heard.values.new_empty(heard.values.shape[0], end - start, stage.width)
        for low in range(start, end, step):
            high = min(end, low + step)
            out[:, low - start : high - start] = stage(heard, low, high, extent)
        return out

    def _finish(self, stage: Stage, heard: Signal, start: int, end: int, extent: Extent) -> Tensor:
        """The last stage and what follows it, which has too few channels to be kept whole."""
        step = _tile_frames(heard.values, stage.width)
        if end - start <= step:
            return self._last(stage, heard, start, end, extent)
        return torch.cat(
            [
                self._last(stage, heard, low, min(end, low + step), extent)
                for low in range(start, end, step)
            ],
            dim=1,
        )

    def _last(self, stage: Stage, heard: Signal, start: int, end: int, extent: Extent) -> Tensor:
        total, reach = heard.total * stage.rate, self.conv_post.reach
        left, right = max(0, start - reach), min(total, end + reach)
        x = stage(heard, left, right, extent)
        upper = _valid(_scaled(extent, stage.rate), left, right)
        y = self.conv_post(_active(x, LAST_SLOPE, upper))
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


def _scaled(extent: Extent, rate: int) -> Extent:
    if isinstance(extent, Window):
        return extent.at(rate)
    return None if extent is None else extent * rate


def _valid(extent: Extent, start: int, end: int) -> Mask:
    """The mask of frames `start` to `end`."""
    if extent is None:
        return None
    if isinstance(extent, Window):
        kept = max(0, extent.first - start), min(end, extent.end) - start
        return None if kept == (0, end - start) else kept
    return (torch.arange(start, end, device=extent.device) < extent[:, None])[..., None]


def _kept(x: Tensor, mask: Mask) -> Tensor:
    """`x` with zeros where the mask has none of it; overwritten where it is a window's."""
    if mask is None:
        return x
    if isinstance(mask, Tensor):
        return x * mask.to(x.dtype)
    x[:, : mask[0]] = 0
    x[:, max(0, mask[1]) :] = 0
    return x


def _active(x: Tensor, slope: float, mask: Mask, *, may_overwrite: bool = False) -> Tensor:
    return _kept(
        F.leaky_relu(x, slope, inplace=may_overwrite and not torch.is_grad_enabled()), mask
    )


def _add(total: Tensor, more: Tensor) -> Tensor:
    return total + more if torch.is_grad_enabled() else total.add_(more)
