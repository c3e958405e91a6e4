"""One block of the language model over packed weights, for whole texts and for single steps.

Fewer and larger products than `lm` (queries, keys and values in one, gate and up in one), queries
scaled beforehand, and channels of queries and keys reordered so that the two of a rotary pair lie
side by side: a rotation is then one complex product. None of this changes the result. The residual
stream, norms and rotations are float32 in every precision: they cost little, and would lose most
by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.cosyvoice.decode.lm import Block, RMSNorm
from kouji.models.layers.attention import StepAttention, attend_behind
from kouji.models.layers.kv_cache import SlotCache
from kouji.models.layers.packed_linear import LinearPrecision, PackedLinear


class Span(NamedTuple):
    """New positions of one slot, behind the `start` that it holds."""

    slot: int
    start: int
    num_new: int


class PackedNorm:
    """`lm.RMSNorm` in float32."""

    def __init__(self, norm: RMSNorm, device: torch.device) -> None:
        self.weight = norm.weight.detach().to(device, torch.float32, copy=True)
        self.epsilon = norm.epsilon
        self.width = len(self.weight)
        self._twice = torch.cat([self.weight, self.weight])

    @property
    def num_bytes(self) -> int:
        return self.weight.nbytes + self._twice.nbytes

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, channels) float32 to the same."""
        if not x.is_cpu:
            return F.rms_norm(x, (self.width,), self.weight, self.epsilon)
        # torch has no kernel of it for CPUs and makes it of six operations, 19 us together. A layer
        # norm is one: beside its own negative, x has mean 0 and its variance is its mean square.
        both = torch.cat([x, -x], dim=1)
        normed = F.layer_norm(both, (2 * self.width,), self._twice, None, self.epsilon)
        return normed[:, : self.width]


class PackedBlock:
    """One block, packed."""

    def __init__(self, block: Block, precision: LinearPrecision, device: torch.device) -> None:
        attention, mlp = block.self_attn, block.mlp
        self.width = attention.head_width
        self.num_heads = attention.q_proj.weight.shape[0] // self.width
        self.num_kv_heads = attention.k_proj.weight.shape[0] // self.width
        self.num_rotated = (self.num_heads + self.num_kv_heads) * self.width
        scale = 1 / math.sqrt(self.width)
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        weight = [self._pairs(q.weight) * scale, self._pairs(k.weight), v.weight]
        bias = [self._pairs(q.bias) * scale, self._pairs(k.bias), v.bias]
        self.qkv = PackedLinear(torch.cat(weight), torch.cat(bias), precision, device=device)
        self.out = PackedLinear(attention.o_proj.weight, None, precision, device=device)
        widen = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
        self.widen = PackedLinear(widen, None, precision, device=device)
        self.narrow = PackedLinear(mlp.down_proj.weight, None, precision, device=device)
        self.norms = [
            PackedNorm(norm, device)
            for norm in (block.input_layernorm, block.post_attention_layernorm)
        ]

    def _pairs(self, rows: Tensor) -> Tensor:
        """Put row i and i + width / 2 of every head side by side."""
        halves = rows.detach().view(-1, 2, self.width // 2, *rows.shape[1:])
        return halves.transpose(1, 2).flatten(0, 2)

    @property
    def num_bytes(self) -> int:
        linears = (self.qkv, self.out, self.widen, self.narrow)
        norms = sum(norm.num_bytes for norm in self.norms)
        return sum(linear.num_bytes for linear in linears) + norms

    def step(self, x: Tensor, number: int, plan: StepAttention, rotation: Tensor) -> Tensor:
        """One position per row, (rows, channels) float32.

        rotation: (rows, 1, width / 2) complex64, see `rotations`
        """
        return self._finish(x, plan.attend(number, self._project(x, rotation)))

    def read(
        self, x: Tensor, number: int, spans: Sequence[Span], cache: SlotCache, rotation: Tensor
    ) -> Tensor:
        """New positions of several slots one after another, (positions, channels) float32.

        Keys and values are read back from the cache, so that it makes no difference which of
        them were written now and which earlier. `x` may go on with rows of padding, which mean
        nothing and are given back as such.
        """
        qkv = self._project(x, rotation).view(len(x), -1, self.width)
        q, k, v = torch.split(qkv, [self.num_heads, self.num_kv_heads, self.num_kv_heads], dim=1)
        # A CPU attends in float32: next to the products this costs little.
        q = q if q.is_cpu else q.to(cache.layout.dtype)
        seen, begin = [], 0
        for slot, start, num_new in spans:
            end = begin + num_new
            cache.write(number, slot, k[begin:end], v[begin:end], start)
            seen.append(attend_behind(q[begin:end], *cache.read(number, slot, start + num_new)))
            begin = end
        seen.append(seen[0].new_zeros(len(x) - begin, seen[0].shape[1]))
        return self._finish(x, torch.cat(seen))

    def _project(self, x: Tensor, rotation: Tensor) -> Tensor:
        """Queries, keys (both rotated) and values, (rows, all channels) float32."""
        qkv = self.qkv(self.norms[0](x)).float()
        pairs = qkv[:, : self.num_rotated].view(len(x), -1, self.width // 2, 2)
        torch.view_as_complex(pairs).mul_(rotation)
        return qkv

    def _finish(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.out(seen)
        gate, up = self.widen(self.norms[1](x)).chunk(2, dim=1)
        return x.add_(self.narrow(F.silu(gate).mul_(up)))


def rotations(num_positions: int, width: int, theta: float, device: torch.device) -> Tensor:
    """What each pair of channels is multiplied by: (positions, 1, width / 2) complex64."""
    steps = torch.arange(0, width, 2, dtype=torch.float32) / width
    angles = torch.arange(num_positions).float().unsqueeze(1) * (1.0 / theta**steps)
    return torch.polar(torch.ones_like(angles), angles).unsqueeze(1).to(device)
