"""Random numbers as a pure function of (seed, step, token): no state to keep, share or restore.

A row's draws depend on its own seed and step only, so they are the same alone or in any batch
(a `torch.Generator` hands out numbers in the order rows happen to ask). The numbers are those
of SplitMix64 (Steele, Lea, Flood 2014): number `token` of the stream that begins at a hash of
seed and step. Integer operations wrap alike on every device, so the bits are equal on CPU and
CUDA; `exponential` takes one float64 logarithm of them and rounds to float32, which hides the
last-bit differences between the logarithms of two devices.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # 2**64 / golden ratio, odd: the stride of a SplitMix64 stream
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_UNIFORM_BITS = 52  # so that (bits + 0.5) still is an exact float64, and never 0 or 1


def _signed(value: int) -> int:
    """The int64 with the bits of an unsigned 64-bit value: torch has no full uint64."""
    return value - (1 << 64) if value >> 63 else value


def mix(value: int) -> int:
    """Hash 64 bits so that every input bit moves half of the output bits (a bijection)."""
    value &= _MASK
    value = ((value ^ (value >> 30)) * _FIRST) & _MASK
    value = ((value ^ (value >> 27)) * _SECOND) & _MASK
    return value ^ (value >> 31)


def derive_seed(seed: int, *counters: int) -> int:
    """An unrelated seed for each path of counters under `seed`.

    seed, counters: any integers; only their low 64 bits count
    returns:        0 <= seed < 2**62, which every generator accepts
    """
    return _fold(seed, *counters) >> 2


def _fold(seed: int, *counters: int) -> int:
    state = mix(seed + _GOLDEN)
    for counter in counters:
        state = mix(state + (counter + 1) * _GOLDEN)
    return state


def row_keys(seeds: Sequence[int], steps: Sequence[int]) -> list[int]:
    """Where the stream of each (seed, step) begins, as signed 64-bit numbers."""
    return [_signed(_fold(seed, step)) for seed, step in zip(seeds, steps, strict=True)]


def random_bits(keys: Tensor, tokens: Tensor) -> Tensor:
    """64 random bits for each token of each row.

    keys:    (rows, 1) int64, from `row_keys`
    tokens:  (rows, tokens) or (tokens,) int64 ids, at least 0
    returns: (rows, tokens) int64, all bits random
    """
    value = keys + (tokens + 1) * _signed(_GOLDEN)
    value = (value ^ _shifted(value, 30)).mul_(_signed(_FIRST))
    value = (value ^ _shifted(value, 27)).mul_(_signed(_SECOND))
    return value ^ _shifted(value, 31)


def _shifted(value: Tensor, places: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift repeats the sign."""
    return (value >> places).bitwise_and_((1 << (64 - places)) - 1)


def uniform(keys: Tensor, tokens: Tensor) -> Tensor:
    """Uniform float64 in the open interval (0, 1), exact on every device; see `random_bits`."""
    high = _shifted(random_bits(keys, tokens), 64 - _UNIFORM_BITS)
    return high.to(torch.float64).add_(0.5).mul_(2.0**-_UNIFORM_BITS)


def exponential(keys: Tensor, tokens: Tensor) -> Tensor:
    """Exp(1) as positive float32, for the draw argmax(p / q); see `random_bits`."""
    return uniform(keys, tokens).log_().neg_().to(torch.float32)
