"""The noise of the vocoder's source, sample by sample: version 3's fixed table, version 2's own.

The official version 3 holds 7,200,000 rows of uniform noise, 260 MB that no checkpoint has. They
are a stretch of one random stream, so a few blocks of it serve, and the generator's state at each
block's beginning finds any other.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache
from threading import Lock
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

HARMONICS = 9  # columns of the official table: the fundamental and eight above it; else asked for
BLOCK_ROWS = 1 << 14  # 0.7 s, 0.6 MB
KEPT_BLOCKS = 8
# What the official constructors draw before the table, at their sizes: the flow's fixed noise, a
# token embedding (6561, 80), then layers, whose weights and biases are uniform: speaker (192 to
# 80), the f0 predictor's convolutions and classifier; and an initial phase for each column.
_NORMALS = ((1, 80, 15_000), (6561, 80))
_UNIFORMS = (192 * 80 + 80, 512 * 80 * 4 + 512, *[512 * 512 * 3 + 512] * 4, 512 + 1)


class Noise(Protocol):
    """Rows of noise, one for each sample of an utterance."""

    def rows(self, seed: int, start: int, end: int) -> Tensor:
        """Rows `start` to `end`, (end - start, harmonics) float32 on the CPU, not to be changed.

        A row depends on its number, and on the seed of the utterance where noise is drawn for it.
        """
        ...


class UniformTable:
    """Version 3's table, bit for bit and without an end; any thread may ask.

    Memory: `KEPT_BLOCKS` blocks, and 5 KB for each block up to the furthest asked for.
    """

    def __init__(self, num_columns: int = HARMONICS) -> None:
        """num_columns: 9 is the official table's"""
        self.num_columns = num_columns
        self._lock = Lock()
        self._states: list[Tensor] = []  # of the generator, at the beginning of each block
        self._blocks: OrderedDict[int, Tensor] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Memory held now."""
        held = [*self._states, *self._blocks.values()]
        return sum(part.nbytes for part in held)

    def rows(self, seed: int, start: int, end: int) -> Tensor:
        """See `Noise`; the same for every seed."""
        del seed
        if end <= start:
            return torch.empty(0, self.num_columns)
        numbers = range(start // BLOCK_ROWS, (end - 1) // BLOCK_ROWS + 1)
        with self._lock:
            parts = [self._block(number) for number in numbers]
        first = numbers[0] * BLOCK_ROWS
        joined = parts[0] if len(parts) == 1 else torch.cat(parts)
        return joined[start - first : end - first]

    def _block(self, number: int) -> Tensor:
        if number not in self._blocks:
            self._blocks[number] = self._drawn(number)
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _drawn(self, number: int) -> Tensor:
        generator = torch.Generator()
        if not self._states:
            self._states.append(_before_the_table(self.num_columns))
        at = min(number, len(self._states) - 1)
        generator.set_state(self._states[at])
        while True:
            block = torch.rand(BLOCK_ROWS, self.num_columns, generator=generator)
            at += 1
            if at == len(self._states):
                self._states.append(generator.get_state())
            if at > number:
                return block


@cache
def uniform_table(num_columns: int = HARMONICS) -> UniformTable:
    """The one table of this width in this process."""
    return UniformTable(num_columns)


def _before_the_table(num_columns: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    for shape in _NORMALS:
        torch.empty(shape).normal_(generator=generator)
    for count in (*_UNIFORMS, num_columns):
        torch.empty(count).uniform_(generator=generator)
    return generator.get_state()


class GaussianNoise:
    """Version 2's: standard normal, drawn for each utterance.

    Philox (Salmon et al. 2011) keyed by seed and block: however an utterance is cut, its rows are
    the same. The official code draws anew in every call.
    """

    _BLOCK = 4800  # rows

    def __init__(self, num_columns: int = HARMONICS) -> None:
        """num_columns: harmonics"""
        self.num_columns = num_columns

    def rows(self, seed: int, start: int, end: int) -> Tensor:
        """See `Noise`."""
        if end <= start:
            return torch.empty(0, self.num_columns)
        numbers = range(start // self._BLOCK, (end - 1) // self._BLOCK + 1)
        blocks = []
        for number in numbers:
            key = np.array([seed % (1 << 64), number], dtype=np.uint64)
            generator = np.random.Generator(np.random.Philox(key=key))
            blocks.append(
                generator.standard_normal((self._BLOCK, self.num_columns), dtype=np.float32)
            )
        first = numbers[0] * self._BLOCK
        return torch.from_numpy(np.concatenate(blocks)[start - first : end - first])
