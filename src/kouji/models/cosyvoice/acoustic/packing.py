"""Parts of a checkpoint by name, made ready to compute with in one precision."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.layers.packed_linear import LinearPrecision, PackedLinear


class Norm:
    """LayerNorm over the last axis, in float32."""

    def __init__(self, weight: Tensor, bias: Tensor, epsilon: float) -> None:
        self.weight, self.bias, self.epsilon = weight, bias, epsilon

    @property
    def num_bytes(self) -> int:
        """Memory of weight and bias."""
        return self.weight.nbytes + self.bias.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """Any float type to float32."""
        return F.layer_norm(x.float(), self.weight.shape, self.weight, self.bias, self.epsilon)


class Weights:
    """The tensors of a checkpoint below one name; a view of it, which nobody needs to keep."""

    def __init__(
        self, state: Mapping[str, Tensor], name: str, precision: LinearPrecision, device: str
    ) -> None:
        self._state, self._name = state, name
        self.precision, self.device = precision, device

    def at(self, name: str) -> Weights:
        """Those of a part."""
        return Weights(self._state, f"{self._name}.{name}", self.precision, self.device)

    def take(self, name: str) -> Tensor:
        """One tensor, float32."""
        return self._state[f"{self._name}.{name}"].detach().float()

    def linear(self, *names: str, has_bias: bool = True) -> PackedLinear:
        """Linear layers as one, of the same input; a convolution takes its taps side by side.

        A convolution's (out, in, taps) becomes (out, taps * in): the input has the channels of
        the oldest frame first.
        """
        weights = [self.take(f"{name}.weight") for name in names]
        flat = [w if w.dim() == 2 else w.transpose(1, 2).flatten(1) for w in weights]
        bias = torch.cat([self.take(f"{name}.bias") for name in names]) if has_bias else None
        return PackedLinear(torch.cat(flat), bias, self.precision, device=self.device)

    def norm(self, name: str, epsilon: float = 1e-5) -> Norm:
        """A LayerNorm."""
        weight, bias = (self.take(f"{name}.{part}") for part in ("weight", "bias"))
        return Norm(weight.to(self.device), bias.to(self.device), epsilon)
