"""One transformer block of T2S over packed weights, for prefill and for single steps.

The residual stream and both norms are float32 in every precision: they are read once, cost
little, and would lose most by rounding. The four products run in the block's precision.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.gpt_sovits.t2s import NORM_EPSILON, Block
from kouji.models.layers.attention import StepAttention, attend_prefix
from kouji.models.layers.kv_cache import SlotCache
from kouji.models.layers.packed_linear import LinearPrecision, PackedLinear


class EmbeddedPrefix(NamedTuple):
    """The input of a prompt, (positions, channels) float32; the first `num_phones` are text."""

    x: Tensor
    num_phones: int


class PackedBlock:
    """One block, packed."""

    def __init__(self, block: Block, precision: LinearPrecision, device: torch.device) -> None:
        attention = block.self_attn
        width, heads = attention.out_proj.weight.shape[0], attention.num_heads
        # Queries come out scaled: one operation less per layer and step.
        scale = torch.ones(3 * width, 1)
        scale[:width] = 1 / math.sqrt(width // heads)
        qkv = attention.in_proj_weight.cpu() * scale, attention.in_proj_bias.cpu() * scale[:, 0]
        self.qkv = PackedLinear(*qkv, precision, device=device)
        out, widen, narrow = attention.out_proj, block.linear1, block.linear2
        self.out = PackedLinear(out.weight, out.bias, precision, device=device)
        self.widen = PackedLinear(widen.weight, widen.bias, precision, device=device, is_relu=True)
        self.narrow = PackedLinear(narrow.weight, narrow.bias, precision, device=device)
        self.norms = [
            (norm.weight.detach().float().to(device), norm.bias.detach().float().to(device))
            for norm in (block.norm1, block.norm2)
        ]
        self.num_heads = heads

    @property
    def num_bytes(self) -> int:
        linears = (self.qkv, self.out, self.widen, self.narrow)
        return sum(linear.num_bytes for linear in linears) + sum(
            t.nbytes for norm in self.norms for t in norm
        )

    def step(self, x: Tensor, number: int, plan: StepAttention) -> Tensor:
        """One position per row, (rows, channels) float32."""
        return self._finish(x, plan.attend(number, self.qkv(x)))

    def prefill(
        self,
        x: Tensor,
        number: int,
        prefixes: list[EmbeddedPrefix],
        cache: SlotCache,
        slots: list[int],
    ) -> Tensor:
        """All positions of all prompts one after another, (positions, channels) float32.

        `x` may go on with rows of padding, which mean nothing and are given back as such.
        """
        qkv = self.qkv(x).view(len(x), 3, self.num_heads, -1)
        seen, start = [], 0
        for prefix, slot in zip(prefixes, slots, strict=True):
            q, k, v = qkv[start : start + len(prefix.x)].unbind(1)
            cache.write(number, slot, k, v)
            seen.append(attend_prefix(q, k, v, prefix.num_phones))
            start += len(prefix.x)
        seen.append(seen[0].new_zeros(len(x) - start, seen[0].shape[1]))
        return self._finish(x, torch.cat(seen))

    def _finish(self, x: Tensor, seen: Tensor) -> Tensor:
        width = x.shape[-1:]
        x = F.layer_norm(x + self.out(seen), width, *self.norms[0], NORM_EPSILON)
        return F.layer_norm(x + self.narrow(self.widen(x)), width, *self.norms[1], NORM_EPSILON)
