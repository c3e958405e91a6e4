"""Which number format a decode stage reads its weights in: claimed by hardware, then measured.

A decode step is bound by how fast weights are read. Measured on one thread, 512 -> 2048, packed,
weights not in cache, microseconds for 1 / 4 / 8 / 16 rows:

    processor               float32                 bfloat16                int8
    AVX512 with BF16        154  165  216  297       79   93  116  167       79   96  197  328
    AVX512 without it       189  185  245  329      110  347  481  720      120  102  185  331
    AVX2                    259  268  385  516      113  429  882 1833       91  167  301  564
    neither                 233  238  322  504      289 1139 2333 4571      924 3616 7130 13854

So bfloat16 wins wherever the processor multiplies it, int8 up to some 12 rows on others with
vector units, and float32 is never far off. What a processor claims may be switched off (in a
virtual machine, by an environment variable), so a claim counts only if a short measurement
agrees; the margin is wide, that one machine always decides alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache

import torch

from kouji.models.layers.packed_linear import LinearPrecision, PackedLinear
from kouji.models.precision import DeviceFacts, Precision, PrecisionChoice, choose_precision

MARGIN = 0.8  # of float32's time: winners take 0.5 to 0.6 of it, losers 1.6 and more
NUM_ROWS = 4
_INPUTS, _OUTPUTS, _LAYERS, _ROUNDS = 512, 2048, 8, 5

Measure = Callable[[Sequence[LinearPrecision]], dict[LinearPrecision, float]]


def choose_decode_precision(
    facts: DeviceFacts, override: str | None = None, *, measure: Measure | None = None
) -> PrecisionChoice:
    """Choose the format of decode weights; what is asked for wins, GPUs go by the common rule.

    measure: microseconds of one product in each format; None measures this machine, once
    raises:  as `choose_precision`
    """
    if facts.device != "cpu" or (override is not None and override != "auto"):
        return choose_precision(facts, override)
    candidates: list[LinearPrecision] = ["float32", "int8"]
    if facts.has_amx or facts.has_avx512_bf16:
        candidates.insert(1, "bfloat16")
    times = (measure or _measure_here)(tuple(candidates))
    plain = times["float32"]
    for precision in candidates[1:]:
        if times[precision] <= MARGIN * plain:
            chosen: Precision = precision
            words = f"{times[precision]:.0f} us a product, {plain:.0f} in float32"
            return PrecisionChoice(chosen, f"measured here: {words}")
    return PrecisionChoice("float32", "measured here: nothing is faster than float32")


@cache
def _measure_here(precisions: tuple[LinearPrecision, ...]) -> dict[LinearPrecision, float]:
    return measure_products(precisions)


def measure_products(precisions: Sequence[LinearPrecision]) -> dict[LinearPrecision, float]:
    """Microseconds of one product of decode size in each format, weights read from memory.

    Takes processor time of one thread, not time of day, and the best of some rounds: others on
    the machine do not change the answer.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(_OUTPUTS, _INPUTS, generator=generator)
    x = torch.randn(NUM_ROWS, _INPUTS, generator=generator)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # others would make this one wait for them, which counts as work
    try:
        with torch.inference_mode():
            return {precision: _microseconds(precision, weight, x) for precision in precisions}
    finally:
        torch.set_num_threads(num_threads)


def _microseconds(precision: LinearPrecision, weight: torch.Tensor, x: torch.Tensor) -> float:
    # As many copies as no cache holds, read in turn.
    layers = [PackedLinear(weight, None, precision) for _ in range(_LAYERS)]
    return 1e6 * min(_seconds(layers, x) for _ in range(_ROUNDS)) / _LAYERS


def _seconds(layers: Sequence[PackedLinear], x: torch.Tensor) -> float:
    start = time.thread_time()
    for layer in layers:
        layer(x)
    return time.thread_time() - start
