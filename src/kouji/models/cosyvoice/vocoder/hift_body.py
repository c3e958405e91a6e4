"""Mel and source spectrum to what the last transform needs: HiFTNet's generator, both versions.

Three stages upsample, add what a residual block makes of the source's spectrum, and pass three
residual blocks with Snake activations (Li et al. 2023; Ziyin et al. 2020). (rows, frames, channels)
layout throughout. Version 3 upsamples by repetition and is causal, version 2 by transposed
convolutions. The mean over the blocks is folded into the weights behind it: leaky ReLU passes a
positive factor through. First and last convolution and those of the source are float32, a hundredth
of the work; what lies between computes in the precision of its weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kouji.models.cosyvoice.config import MELS, HiftConfig
from kouji.models.cosyvoice.vocoder.hift_edges import Edges, Ends, joined
from kouji.models.layers.time_conv import (
    CausalConv,
    RepeatingConv,
    TimeConv,
    UpsamplingConv,
    convolve,
)

LAST_SLOPE = 0.01  # before the last convolution the official network leaves the slope unnamed
POST_TAPS = 7
TILE_BYTES = 1024 * 1024  # of one tensor of a stretch
PLAIN_PRE_TAPS = 7  # of version 2's first convolution


class Body(nn.Module):
    """All of it; names as in checkpoints."""

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.is_causal = config.version == "cosyvoice3"
        self.slope = config.leaky_slope
        num_stages, bins = len(config.upsample_rates), config.n_fft + 2
        widths = [config.base_channels >> stage for stage in range(num_stages + 1)]
        # The mel's look-ahead lies in the mel, so version 3's first convolution has no history.
        pre_taps = config.lookahead_frames + 1 if self.is_causal else PLAIN_PRE_TAPS
        self.conv_pre = _conv(self.is_causal, MELS, widths[0], pre_taps)
        up = RepeatingConv if self.is_causal else UpsamplingConv
        self.ups: Any = nn.ModuleList(
            up(widths[stage], widths[stage + 1], config.upsample_kernels[stage], rate)
            for stage, rate in enumerate(config.upsample_rates)
        )
        self.rates = _products(config.upsample_rates)  # frames of each stage per frame of mel
        self.source_downs: Any = nn.ModuleList(
            SourceConv(bins, width, self.rates[-1] // rate, is_causal=self.is_causal)
            for width, rate in zip(widths[1:], self.rates, strict=True)
        )
        self.source_resblocks: Any = nn.ModuleList(
            ResidualBlock(width, taps, dilations, rate, is_causal=self.is_causal)
            for width, rate, taps, dilations in zip(
                widths[1:], self.rates, config.source_kernels, config.source_dilations, strict=True
            )
        )
        shapes = list(zip(config.resblock_kernels, config.resblock_dilations, strict=True))
        self.num_blocks = len(shapes)
        self.resblocks: Any = nn.ModuleList(
            ResidualBlock(width, *shape, rate, is_causal=self.is_causal)
            for width, rate in zip(widths[1:], self.rates, strict=True)
            for shape in shapes
        )
        self.conv_post = _conv(self.is_causal, widths[-1], bins, POST_TAPS)
        reaches = [block.reach for block in list[Any](self.resblocks)]
        self._reaches: list[int] = [
            own.reach + max(reaches[self.num_blocks * stage : self.num_blocks * (stage + 1)])
            for stage, own in enumerate(list[Any](self.source_resblocks))
        ]

    def place(self, device: torch.device, dtype: torch.dtype) -> None:
        """Put weights on a device; all but the edges in `dtype`."""
        self.to(device, torch.float32)
        for part in (self.ups, self.source_resblocks, self.resblocks):
            part.to(dtype)

    def forward(self, mel: Tensor, spectrum: Tensor, edges: Edges) -> Tensor:
        """What the last transform needs, float32.

        mel:      (rows, frames, 80), in version 3 with `lookahead_frames` more behind them
        spectrum: (rows, 120 * frames + 1, 18), of the source
        returns:  (rows, 120 * frames + 1, 18)
        """
        x = self.conv_pre(mel if self.is_causal else joined(mel, 0, 1, edges))
        x = x.to(self.ups[0].weight.dtype)
        last, rate_before = len(self.rates) - 1, 1
        for stage, rate in enumerate(self.rates):
            up = self.ups[stage]
            room, inside = edges.open(x, up.reach)
            _leaky(x, self.slope, inside)
            x = up(edges.close(room, rate_before))
            if stage == last:
                x = edges.reflected(x, rate)
            down = self.source_downs[stage]
            heard = down(joined(spectrum, down.reach, self.rates[-1], edges)).to(x.dtype)
            x, rate_before = self._filtered(stage, x, heard, edges), rate
        room, inside = edges.open(x, self.conv_post.reach)
        _leaky(x, LAST_SLOPE, inside)
        features: Tensor = self.conv_post(edges.close(room, self.rates[-1]).float())
        return features

    def _filtered(self, stage: int, x: Tensor, heard: Tensor, edges: Edges) -> Tensor:
        """A stage's blocks, in stretches that stay in a CPU's cache.

        Version 3 is called with short ones already. Here a stretch has as much beside it as its
        blocks see, so that what they take for an end is dropped.
        """
        num_frames, step = x.shape[1], TILE_BYTES // (x.shape[2] * x.element_size())
        if not isinstance(edges, Ends) or x.device.type != "cpu" or num_frames <= step:
            return self._blocks(stage, x, heard, edges)
        reach, parts = self._reaches[stage], []
        for start in range(0, num_frames, step):
            end = min(num_frames, start + step)
            low, high = max(0, start - reach), min(num_frames, end + reach)
            near = edges.behind(low)
            part = self._blocks(stage, x[:, low:high].clone(), heard[:, low:high], near)
            parts.append(part[:, start - low : end - low])
        return torch.cat(parts, dim=1)

    def _blocks(self, stage: int, x: Tensor, heard: Tensor, edges: Edges) -> Tensor:
        """The sum of a stage's blocks; `x`, which is overwritten, has the source's added first."""
        x += self.source_resblocks[stage](heard, edges)
        first = stage * self.num_blocks
        total: Tensor = self.resblocks[first](x, edges)
        for block in self.resblocks[first + 1 : first + self.num_blocks]:
            total += block(x, edges)
        return total


class ResidualBlock(nn.Module):
    """Pairs of convolutions, the first dilated, each behind a Snake; names as in checkpoints.

    Snake, x + sin^2(alpha x) / alpha by channel, is u + sin^2(u) of u = alpha x, over alpha. The
    factors lie in the weights around it where a convolution is (see `hift_weights`), so that it
    costs two passes over memory in place of four. What remains is alpha for the sums.
    """

    def __init__(
        self, width: int, taps: int, dilations: tuple[int, ...], rate: int, *, is_causal: bool
    ) -> None:
        """rate: its frames for each frame of mel."""
        super().__init__()
        self.rate = rate
        self.convs1: Any = nn.ModuleList(_conv(is_causal, width, width, taps, d) for d in dilations)
        self.convs2: Any = nn.ModuleList(_conv(is_causal, width, width, taps) for _ in dilations)
        self.activations1: Any = nn.ModuleList(Alpha(width) for _ in dilations)
        self.reach: int = sum(conv.reach for conv in [*self.convs1, *self.convs2])

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """(rows, frames, width), which stays as it is, to the like of it."""
        y = x
        for scale, first, second in zip(self.activations1, self.convs1, self.convs2, strict=True):
            inner = self._convolved(y * scale.alpha, first, edges)
            y = self._convolved(inner, second, edges).add_(y)
        return y

    def _convolved(self, x: Tensor, conv: TimeConv, edges: Edges) -> Tensor:
        room, inside = edges.open(x, conv.reach)
        sines = x.sin()
        torch.addcmul(x, sines, sines, out=inside)
        made: Tensor = conv(edges.close(room, self.rate))
        return made


class Alpha(nn.Module):
    """The frequencies of a Snake, by channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(width))


class SourceConv(nn.Module):
    """The source's spectrum at a stage's rate.

    stride: frames of the spectrum for one of the stage's
    reach:  frames of history in front of the input, in version 3
    """

    def __init__(self, width_in: int, width_out: int, stride: int, *, is_causal: bool) -> None:
        super().__init__()
        taps = 1 if stride == 1 else 2 * stride
        self.stride = stride
        self.reach = stride - 1 if is_causal else 0
        self.padding = 0 if is_causal else stride // 2
        self.weight = nn.Parameter(torch.empty(width_out, width_in, 1, taps))
        self.bias = nn.Parameter(torch.empty(width_out))

    @property
    def official_shape(self) -> tuple[int, ...]:
        """(out, in, taps)."""
        return (*self.weight.shape[:2], self.weight.shape[3])

    def from_official(self, weight: Tensor) -> Tensor:
        """A checkpoint's weight of `official_shape` as `weight`."""
        image = weight.reshape(self.weight.shape)
        return image.contiguous(memory_format=torch.channels_last)

    def forward(self, spectrum: Tensor) -> Tensor:
        """(rows, reach + frames, in) -> (rows, frames // stride, out)."""
        return convolve(spectrum, self.weight, self.bias, self.padding, 1, self.stride)


def _conv(is_causal: bool, width_in: int, width_out: int, taps: int, dilation: int = 1) -> TimeConv:
    kind = CausalConv if is_causal else TimeConv
    return kind(width_in, width_out, taps, dilation=dilation)


def _leaky(x: Tensor, slope: float, out: Tensor) -> None:
    torch.maximum(x, x * slope, out=out)


def _products(rates: tuple[int, ...]) -> list[int]:
    made = [1]
    for rate in rates:
        made.append(made[-1] * rate)
    return made[1:]
