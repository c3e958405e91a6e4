"""Linear layers for decoding: weights kept once, in the layout that a CPU reads fastest.

A decoder that makes one token at a time reads all its weights for it, so bytes are what counts.
Measured on one thread of an AVX512-BF16 CPU, 512 -> 2048, weights not in cache, microseconds for
1 / 8 / 290 rows: float32 298 / 569 / 6690, packed 137 / 243 / 3210; bfloat16 156 / 185 / 1630,
packed 65 / 101 / 1450; int8 75 / 160. In another, busier run: bfloat16 packed 118 / 155 / 1690,
float16 weights under float32 numbers (FBGEMM) 121 / 189 / 3390; these need no bfloat16 unit and
round eight times less. Packed weights also give a row the same bits whatever the number of rows
beside it, which plain ones do not. Knows nothing of any model.
"""

from __future__ import annotations

import time
from functools import cache
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.errors import ConfigError
from kouji.models.layers.huge_pages import use_huge_pages
from kouji.models.precision import read_device_facts

LinearPrecision = Literal["float32", "float16", "bfloat16", "int8"]
LINEAR_PRECISIONS: tuple[LinearPrecision, ...] = get_args(LinearPrecision)
PACKED_ROWS = 8  # the layout for 8 rows was best or equal from 1 to 290
INT8_ROWS = 32  # from here on one dequantisation costs less than the int8 product


class PackedLinear:
    """`x @ weight.T + bias` in one precision, with an optional ReLU fused to it.

    dtype: of what it computes in and returns: bfloat16 for int8 weights; float32 for float16
           weights on CPUs that can unpack them on the fly
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        precision: LinearPrecision,
        *,
        device: torch.device | str = "cpu",
        is_relu: bool = False,
    ) -> None:
        """Convert and pack.

        weight: (out, in) float32; not kept
        bias:   (out,) float32
        raises: ConfigError for int8 on another device than a CPU
        """
        self.is_relu = is_relu
        self.num_outputs = weight.shape[0]
        place = torch.device(device)
        is_cpu = place.type == "cpu"
        if precision == "int8" and not is_cpu:
            raise ConfigError(
                "int8 weights are for CPUs",
                seen=str(device),
                allowed=", ".join(LINEAR_PRECISIONS[:3]),
            )
        self.half: Any = None
        self.scale: Tensor | None = None
        if precision == "float16" and is_cpu and can_pack_half():
            self._pack_half(weight, bias)
            return
        self.dtype = getattr(torch, "bfloat16" if precision == "int8" else precision)
        self.bias = None if bias is None else bias.detach().to(place, self.dtype)
        self.is_packed = False
        if precision == "int8":
            self.weight, self.scale = quantise(weight.detach())
        else:
            self.weight = weight.detach().to(place, self.dtype).contiguous()
            self.is_packed = is_cpu and can_pack(self.dtype)
        self._weight_bytes = self.weight.numel() * self.weight.element_size()
        if self.is_packed:
            self.weight = pack(self.weight)
        if is_cpu:
            use_huge_pages(*_place(self.weight, self.is_packed))

    def _pack_half(self, weight: Tensor, bias: Tensor | None) -> None:
        """float16 weights and float32 bias in one opaque object."""
        self.dtype, self.bias = torch.float32, None
        wide = None if bias is None else bias.detach().float().cpu()
        self.half = torch.ops.quantized.linear_prepack_fp16(weight.detach().float().cpu(), wide)
        self._weight_bytes = 2 * weight.numel() + (0 if wide is None else wide.nbytes)

    @property
    def num_bytes(self) -> int:
        """Memory of weights, scales and bias; padding of packed blocks is not counted."""
        extras = [t for t in (self.bias, self.scale) if t is not None]
        return self._weight_bytes + sum(t.numel() * t.element_size() for t in extras)

    def __call__(self, x: Tensor) -> Tensor:
        """Map (rows, in) of any float type to (rows, out) in `dtype`."""
        x = x.to(self.dtype)
        if self.half is not None:
            product = torch.ops.quantized
            act = product.linear_relu_dynamic_fp16 if self.is_relu else product.linear_dynamic_fp16
            made: Tensor = act(x, self.half)
            return made
        if self.scale is None:
            return _multiply(x, self.weight, self.bias, self.is_packed, self.is_relu)
        if x.shape[0] >= INT8_ROWS or not _has_int8_product():
            return self._dequantised(x, self.scale)
        y = torch._weight_int8pack_mm(x, self.weight, self.scale)
        y = y if self.bias is None else y.add_(self.bias)
        return y.relu_() if self.is_relu else y

    def _dequantised(self, x: Tensor, scale: Tensor) -> Tensor:
        dtype = wide_dtype()
        weight = self.weight.to(dtype).mul_(scale.to(dtype).unsqueeze(1))
        bias = None if self.bias is None else self.bias.to(dtype)
        is_packed = can_pack(dtype)
        if is_packed:  # a fifth of a wide product's time, and saves half of it
            weight = pack(weight)
        return _multiply(x.to(dtype), weight, bias, is_packed, self.is_relu).to(self.dtype)


def pack(weight: Tensor) -> Tensor:
    """Reorder (out, in) weights as oneDNN reads them; only where `can_pack`."""
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)
    return packed


def _place(weight: Tensor, is_packed: bool) -> tuple[int, int]:
    """Address and bytes in memory; zeros where torch does not tell."""
    if not is_packed:
        return weight.data_ptr(), weight.nbytes
    try:  # private to torch
        return torch.ops.mkldnn.data_ptr(weight), torch.ops.mkldnn._nbytes(weight)
    except AttributeError:
        return 0, 0


def _multiply(
    x: Tensor, weight: Tensor, bias: Tensor | None, is_packed: bool, is_relu: bool
) -> Tensor:
    if not is_packed:
        y = F.linear(x, weight, bias)
        return y.relu_() if is_relu else y
    # One float32 row takes another kernel than two and may differ in the last bit: give it a
    # companion, so that a row never depends on how many are computed with it.
    is_lonely = x.shape[0] == 1 and x.dtype == torch.float32
    rows = x.expand(2, -1).contiguous() if is_lonely else x
    action = "relu" if is_relu else "none"
    made: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, action, [], "")
    return made[:1] if is_lonely else made


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each output's weights to int8 around zero.

    weight:  (out, in) float32
    returns: (out, in) int8 and (out,) bfloat16 scales; the weights are rounded for the scales as
             they are stored, so rounding a scale costs no accuracy
    """
    scale = (weight.abs().amax(dim=1).clamp_min(1e-12) / 127).to(torch.bfloat16)
    steps = (weight / scale.float().unsqueeze(1)).round_().clamp_(-127, 127)
    return steps.to(torch.int8).contiguous(), scale


@cache
def can_pack(dtype: torch.dtype) -> bool:
    """True where torch's oneDNN packs weights of this type; private to torch, so tried out once."""
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if dtype not in (torch.float32, torch.bfloat16) or not has_onednn:
        return False
    try:
        weight, x = torch.eye(16, dtype=dtype), torch.ones(2, 16, dtype=dtype)
        y = torch.ops.mkldnn._linear_pointwise(x, pack(weight), None, "relu", [], "")
    except (RuntimeError, AttributeError, TypeError):
        return False
    return torch.equal(y, x)


@cache
def can_pack_half() -> bool:
    """True where torch multiplies float32 rows by packed float16 weights (FBGEMM: x86)."""
    try:
        packed = torch.ops.quantized.linear_prepack_fp16(torch.eye(16), None)
        y = torch.ops.quantized.linear_relu_dynamic_fp16(torch.ones(2, 16), packed)
    except (RuntimeError, AttributeError, TypeError):
        return False
    return torch.equal(y, torch.ones(2, 16))


@cache
def wide_dtype() -> torch.dtype:
    """What many rows are multiplied in once int8 weights are unpacked for them.

    bfloat16 where the processor claims to multiply it and does: a claim can be switched off
    behind torch's back, and is then several times slower than float32 instead of faster.
    """
    facts = read_device_facts("cpu")
    if not (facts.has_amx or facts.has_avx512_bf16):
        return torch.float32
    times = {dtype: _product_seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return min(times, key=times.__getitem__)


def _product_seconds(dtype: torch.dtype) -> float:
    x, weight = torch.ones(64, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
    best = float("inf")
    for _ in range(5):
        start = time.thread_time()
        F.linear(x, weight)
        best = min(best, time.thread_time() - start)
    return best


def _has_int8_product() -> bool:
    return hasattr(torch, "_weight_int8pack_mm")  # private to torch
