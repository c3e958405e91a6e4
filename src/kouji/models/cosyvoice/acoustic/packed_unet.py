"""Version 2's estimator over packed weights: frames of many pieces in one matrix.

A convolution is a product over three frames side by side. Residuals and norms are float32, the
products are in the precision of the weights. The numbers are those of `unet`, whatever the pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.cosyvoice.acoustic.flow_attention import Span
from kouji.models.cosyvoice.acoustic.packing import Norm, Weights
from kouji.models.cosyvoice.acoustic.unet import TIME_MULT, TimeEmbedding
from kouji.models.cosyvoice.acoustic.unet_step import BRANCHES, RaggedStep
from kouji.models.cosyvoice.config import UNetConfig
from kouji.models.layers.packed_linear import LinearPrecision, PackedLinear
from kouji.models.unfilled import without_initial_values


class PackedConvUnit:
    """Convolution, norm, Mish."""

    def __init__(self, weights: Weights) -> None:
        self.conv, self.norm = weights.linear("block.0"), weights.norm("block.2")

    def __call__(self, x: Tensor, step: RaggedStep) -> Tensor:
        """(frames, width) -> (frames, width) float32."""
        return F.mish(self.norm(self.conv(step.gather_taps(x.to(self.conv.dtype)))))

    @property
    def parts(self) -> list[PackedLinear | Norm]:
        return [self.conv, self.norm]


class PackedTransformer:
    """Attention and feed-forward."""

    def __init__(self, weights: Weights, num_heads: int) -> None:
        self.num_heads = num_heads
        self.norm1, self.norm3 = weights.norm("norm1"), weights.norm("norm3")
        self.qkv = weights.at("attn1").linear("to_q", "to_k", "to_v", has_bias=False)
        self.out = weights.linear("attn1.to_out.0")
        self.widen, self.narrow = weights.linear("ff.net.0.proj"), weights.linear("ff.net.2")

    def __call__(self, x: Tensor, step: RaggedStep) -> Tensor:
        """(frames, width) float32 -> the same."""
        x = x + self.out(step.attend(self.qkv(self.norm1(x)), self.num_heads))
        return x + self.narrow(F.gelu(self.widen(self.norm3(x))))

    @property
    def parts(self) -> list[PackedLinear | Norm]:
        return [self.norm1, self.norm3, self.qkv, self.out, self.widen, self.narrow]


class PackedLevel:
    """A resnet block and its transformers.

    shifts: (steps, width) float32, what the time of each Euler step adds
    """

    def __init__(self, weights: Weights, config: UNetConfig, times: Tensor) -> None:
        resnet = weights.at("0")
        self.first, self.second = (PackedConvUnit(resnet.at(f"block{n}")) for n in (1, 2))
        self.beside = resnet.linear("res_conv")
        shifts = F.linear(F.mish(times), resnet.take("mlp.1.weight"), resnet.take("mlp.1.bias"))
        self.shifts = shifts.to(weights.device)
        self.transformers = [
            PackedTransformer(weights.at(f"1.{number}"), config.num_heads)
            for number in range(config.num_transformers)
        ]

    def __call__(self, x: Tensor, step: RaggedStep) -> Tensor:
        """(frames, width) -> (frames, width) float32."""
        y = self.first(x, step) + self.shifts.index_select(0, step.steps)
        y = self.second(y, step) + self.beside(x)
        for transformer in self.transformers:
            y = transformer(y, step)
        return y

    @property
    def parts(self) -> list[PackedLinear | Norm]:
        inner = [part for transformer in self.transformers for part in transformer.parts]
        return [*self.first.parts, *self.second.parts, self.beside, *inner]


class PackedUNet:
    """The whole estimator, for the Euler steps of one schedule."""

    def __init__(
        self,
        config: UNetConfig,
        state: Mapping[str, Tensor],
        times: Sequence[float],
        precision: LinearPrecision,
        device: str,
    ) -> None:
        """Pack.

        state: with the official names of `flow.pt`; not kept
        times: of the steps, for which the network's layers over time are computed here, once
        """
        weights = Weights(state, "decoder.estimator", precision, device)
        embedded = _embed_times(weights.at("time_mlp"), config, times)
        names = [f"mid_blocks.{number}" for number in range(config.num_mid_blocks)]
        self.config, self.cache_dtype = config, getattr(torch, precision)
        self.down, self.up, *self.mid = (
            PackedLevel(weights.at(name), config, embedded)
            for name in ("down_blocks.0", "up_blocks.0", *names)
        )
        self.down_conv = weights.linear("down_blocks.0.2")
        self.up_conv = weights.linear("up_blocks.0.2")
        self.final = PackedConvUnit(weights.at("final_block"))
        self.out = weights.linear("final_proj")
        self._weights_per_frame = sum(
            tensor.numel()
            for name, tensor in state.items()
            if name.startswith("decoder.estimator.") and tensor.dim() > 1 and "mlp." not in name
        )

    def __call__(self, x: Tensor, step: RaggedStep) -> Tensor:
        """The velocity of every frame.

        x:       (frames, 320) float32: noisy mel, `mu`, speaker, the prompt's mel
        returns: (frames, 80) float32
        """
        skip = self.down(x, step)
        x = self._convolve(self.down_conv, skip, step)
        for level in self.mid:
            x = level(x, step)
        x = self.up(torch.cat([x, skip], dim=1), step)
        x = self.final(self._convolve(self.up_conv, x, step), step)
        return self.out(x).float()

    @staticmethod
    def _convolve(conv: PackedLinear, x: Tensor, step: RaggedStep) -> Tensor:
        return conv(step.gather_taps(x.to(conv.dtype))).float()

    @property
    def _levels(self) -> list[PackedLevel]:
        return [self.down, *self.mid, self.up]

    @property
    def _parts(self) -> list[PackedLinear | Norm]:
        inner = [part for level in self._levels for part in level.parts]
        return [*inner, self.down_conv, self.up_conv, *self.final.parts, self.out]

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        shifts = sum(level.shifts.nbytes for level in self._levels)
        return shifts + sum(part.num_bytes for part in self._parts)

    @property
    def bytes_per_frame(self) -> int:
        """What `StepCache` grows by with every frame, in one branch."""
        blocks = len(self._levels) * self.config.num_transformers
        width = self.config.num_heads * self.config.head_width
        return 2 * blocks * width * int(self.cache_dtype.itemsize)

    def flops(self, spans: Sequence[Span]) -> int:
        """Of one step of a piece, both branches: two per multiplication."""
        num_frames = spans[-1].end
        linear = num_frames * self._weights_per_frame
        heads = self.config.num_heads * self.config.head_width
        attention = 2 * heads * sum((end - begin) * num_keys for begin, end, num_keys in spans)
        blocks = len(self._levels) * self.config.num_transformers
        return 2 * BRANCHES * (linear + blocks * attention)


def _embed_times(weights: Weights, config: UNetConfig, times: Sequence[float]) -> Tensor:
    """(steps,) -> (steps, 4 * channels) float32."""
    with without_initial_values():
        layers = TimeEmbedding(TIME_MULT * config.channels)
    layers.load_state_dict({name: weights.take(name) for name in layers.state_dict()})
    with torch.no_grad():
        embedded: Tensor = layers.cpu()(torch.tensor(times))
    return embedded
