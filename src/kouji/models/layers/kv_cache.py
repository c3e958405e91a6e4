"""Keys and values of every layer in preallocated slots, in one of two layouts.

`RowCache` keeps (slots, heads, positions, width): what attention kernels of GPUs want.
`StripCache` keeps keys transposed in strips of 128 positions, so that on a CPU both products of
attention become weighted sums of table rows (see `attention`). Owns memory; computes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kouji.models.layers.packed_linear import LinearPrecision

ALIGNMENT = 64  # bytes; what torch gives its own tensors
STRIP = 128  # positions; 64 costs more look-ups, 256 reads more stale positions: measured equal


def cache_dtype(precision: LinearPrecision, is_strips: bool) -> torch.dtype:
    """Keys and values: on CPUs float16 beside bfloat16, for it is as small and three bits finer.

    precision: of the decoder's weights
    is_strips: as of `CacheLayout`
    """
    if precision == "float32":
        return torch.float32
    return torch.float16 if is_strips or precision != "bfloat16" else torch.bfloat16


@dataclass(frozen=True)
class CacheLayout:
    """What two decoders must agree on to share a cache.

    num_heads: of keys and values; several heads of queries may share one
    is_strips: `StripCache`, else `RowCache`
    """

    num_layers: int
    num_heads: int
    head_width: int
    dtype: torch.dtype
    device: torch.device
    is_strips: bool

    def slot_bytes(self, num_positions: int) -> int:
        """Memory of one slot with room for at least so many positions."""
        channels = self.num_heads * self.head_width
        positions = self.rounded(num_positions)
        return 2 * self.num_layers * channels * positions * self.dtype.itemsize

    def rounded(self, num_positions: int) -> int:
        """Positions a slot really gets: whole strips."""
        return -(-num_positions // STRIP) * STRIP if self.is_strips else num_positions

    def allocate(self, num_slots: int, num_positions: int) -> SlotCache:
        """Take memory for slots of at least so many positions."""
        kind = StripCache if self.is_strips else RowCache
        with torch.inference_mode(False):  # so that it may be written inside that mode and outside
            return kind(self, num_slots, self.rounded(num_positions))


class KeptPrefix(NamedTuple):
    """The beginning of a slot, copied out of a cache."""

    keys: Tensor
    values: Tensor

    @property
    def num_bytes(self) -> int:
        """Memory of the copy."""
        return self.keys.nbytes + self.values.nbytes


class SlotCache:
    """What both layouts share; make one with `CacheLayout.allocate`."""

    keys: Tensor
    values: Tensor

    def __init__(self, layout: CacheLayout, num_slots: int, num_positions: int) -> None:
        self.layout, self.num_slots, self.num_positions = layout, num_slots, num_positions

    @property
    def num_bytes(self) -> int:
        """Memory of all slots."""
        return self.keys.nbytes + self.values.nbytes

    def write(self, layer: int, slot: int, keys: Tensor, values: Tensor, start: int = 0) -> None:
        """Fill a slot from `start` on; both (positions, heads, width) of any float type."""
        raise NotImplementedError

    def read(self, layer: int, slot: int, num_positions: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first positions of a slot, (heads, positions, width) each."""
        raise NotImplementedError

    def copy_out(self, slot: int, num_positions: int) -> KeptPrefix:
        """A copy of the first positions of a slot."""
        keys, values = self._beginning(slot, num_positions)
        return KeptPrefix(keys.clone(), values.clone())

    def copy_in(self, slot: int, prefix: KeptPrefix) -> None:
        """Write what `copy_out` gave, here or on a cache of equal layout, to a slot's beginning."""
        keys, values = self._beginning(slot, prefix.values.shape[2])
        keys.copy_(prefix.keys)
        values.copy_(prefix.values)

    def _beginning(self, slot: int, num_positions: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


class RowCache(SlotCache):
    """Keys and values (layers, slots, heads, positions, width)."""

    def __init__(self, layout: CacheLayout, num_slots: int, num_positions: int) -> None:
        super().__init__(layout, num_slots, num_positions)
        shape = (layout.num_layers, num_slots, layout.num_heads, num_positions, layout.head_width)
        # Zeros: positions not written yet are computed with before they are masked.
        self.keys = _zeros(shape, layout)
        self.values = _zeros(shape, layout)

    def write(self, layer: int, slot: int, keys: Tensor, values: Tensor, start: int = 0) -> None:
        """As `SlotCache.write`."""
        end = start + keys.shape[0]
        self.keys[layer, slot, :, start:end] = keys.transpose(0, 1)
        self.values[layer, slot, :, start:end] = values.transpose(0, 1)

    def read(self, layer: int, slot: int, num_positions: int) -> tuple[Tensor, Tensor]:
        """As `SlotCache.read`; views."""
        return self.keys[layer, slot, :, :num_positions], self.values[
            layer, slot, :, :num_positions
        ]

    def _beginning(self, slot: int, num_positions: int) -> tuple[Tensor, Tensor]:
        return self.keys[:, slot, :, :num_positions], self.values[:, slot, :, :num_positions]


class StripCache(SlotCache):
    """Keys (layers, slots, strips, heads, width, STRIP), values (layers, slots, heads, positions,
    width); both lie in one tensor per layer, so that a step writes them in one operation.

    flat, key_rows, value_rows: per layer, views of that tensor: all numbers, keys before values;
                                (rows, STRIP) keys; (rows, width) values
    """

    def __init__(self, layout: CacheLayout, num_slots: int, num_positions: int) -> None:
        super().__init__(layout, num_slots, num_positions)
        heads, width = layout.num_heads, layout.head_width
        self.num_strips = num_positions // STRIP
        half = num_slots * num_positions * heads * width
        both = _zeros((layout.num_layers, 2 * half), layout)
        self.values_start = half
        strips = (layout.num_layers, num_slots, self.num_strips, heads, width, STRIP)
        self.keys = both[:, :half].view(strips)
        rows = (layout.num_layers, num_slots, heads, num_positions, width)
        self.values = both[:, half:].view(rows)
        # Views are made once: made in every layer of every step they cost a tenth of a small one.
        self.flat = list(both)
        self.key_rows = [layer[:half].view(-1, STRIP) for layer in self.flat]
        self.value_rows = [layer[half:].view(-1, width) for layer in self.flat]

    def write(self, layer: int, slot: int, keys: Tensor, values: Tensor, start: int = 0) -> None:
        """As `SlotCache.write`; the rest of the last strip becomes zeros if it was begun here."""
        self.values[layer, slot, :, start : start + keys.shape[0]] = values.transpose(0, 1)
        first, offset = divmod(start, STRIP)
        if offset:  # fill up the strip that is there
            open_ = self.keys[layer, slot, first, :, :, offset : offset + keys.shape[0]]
            fitting = open_.shape[-1]
            open_.copy_(keys[:fitting].permute(1, 2, 0))
            first, keys = first + 1, keys[fitting:]
        num_positions, heads, width = keys.shape
        strips = -(-num_positions // STRIP)
        padded = torch.nn.functional.pad(keys.permute(1, 2, 0), (0, strips * STRIP - num_positions))
        cut = padded.view(heads, width, strips, STRIP).permute(2, 0, 1, 3)
        self.keys[layer, slot, first : first + strips] = cut

    def read(self, layer: int, slot: int, num_positions: int) -> tuple[Tensor, Tensor]:
        """As `SlotCache.read`; the keys are a copy."""
        strips = -(-num_positions // STRIP)
        keys = self.keys[layer, slot, :strips].permute(1, 0, 3, 2).flatten(1, 2)
        return keys[:, :num_positions], self.values[layer, slot, :, :num_positions]

    def _beginning(self, slot: int, num_positions: int) -> tuple[Tensor, Tensor]:
        strips = -(-num_positions // STRIP)
        return self.keys[:, slot, :strips], self.values[:, slot, :, :num_positions]


def _zeros(shape: tuple[int, ...], layout: CacheLayout) -> Tensor:
    """Zeros that take memory when they are first written, where the system offers that.

    torch writes its zeros at once: sixteen seats would take gigabytes for one short sentence.
    """
    if layout.device.type != "cpu":
        return torch.zeros(shape, dtype=layout.dtype, device=layout.device)
    num_bytes = math.prod(shape) * layout.dtype.itemsize
    raw = torch.from_numpy(np.zeros(num_bytes + ALIGNMENT, np.uint8))
    start = -raw.data_ptr() % ALIGNMENT
    return raw[start : start + num_bytes].view(layout.dtype).view(shape)
