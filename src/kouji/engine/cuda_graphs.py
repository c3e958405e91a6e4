"""Decode steps recorded once per number of rows, and replayed.

A step of a small decoder is some 300 kernel launches, which cost more than the kernels. A graph
launches them all at once, but only over the same addresses and shapes: inputs are copied into
buffers that never move, and rows are padded up to 1, 2, 4, 8, 16 or 32 by repeating the last
one. The repeated row computes and writes what the last row writes, so padding needs no slot of
its own. More rows than the largest graph run in slices. Where recording fails the decoder runs
plainly, and the log says why. A graph dies with its decoder or its cache.
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.engine.cuda_api import CudaApi, Graph
from kouji.models.stages import Decoder, KVCache

BUCKETS = (1, 2, 4, 8, 16, 32)
MAX_GRAPHS = 96  # some megabytes each in the driver: 16 decoders with all buckets

_log = logging.getLogger(__name__)


class _Key(NamedTuple):
    """Objects, not names: weights loaded again under an old name lie somewhere else."""

    decoder: int
    cache: int
    bucket: int


@dataclass(frozen=True)
class _Recording:
    graph: Graph
    logits: Tensor  # (bucket, vocabulary) at a fixed address, overwritten by each replay


class GraphRunner:
    """Runs decode steps of any decoders over any caches of one card."""

    def __init__(
        self, api: CudaApi, device: torch.device, is_hopeless: Callable[[BaseException], bool]
    ) -> None:
        """is_hopeless: whether an error would also strike a plain step, so is to be raised"""
        self._api, self._device, self._is_hopeless = api, device, is_hopeless
        self._recordings: OrderedDict[_Key, _Recording] = OrderedDict()  # newest use last
        self._plain: set[int] = set()  # decoders that cannot be recorded
        self._watched: set[int] = set()
        # Filled when objects die, in whatever thread that happens; emptied by ours.
        self._dead: deque[int] = deque()
        self._inputs: Tensor | None = None

    @property
    def num_graphs(self) -> int:
        """Recordings kept."""
        self._bury()
        return len(self._recordings)

    def run(self, decoder: Decoder, rows: Tensor, cache: KVCache) -> Tensor:
        """One step.

        rows:    (4, rows) int64 on the CPU: tokens, positions, lengths, slots
        returns: (rows, vocabulary) float32 logits on the card, the caller's to keep
        """
        self._bury()
        parts = [
            self._run_slice(decoder, part, cache) for part in torch.split(rows, BUCKETS[-1], dim=1)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def clear(self) -> None:
        """Forget all recordings."""
        self._recordings.clear()

    def _run_slice(self, decoder: Decoder, rows: Tensor, cache: KVCache) -> Tensor:
        num_rows = rows.shape[1]
        if id(decoder) in self._plain:
            return _step(decoder, self._send(rows), cache)
        bucket = next(size for size in BUCKETS if size >= num_rows)
        padding = rows[:, -1:].expand(-1, bucket - num_rows)
        inputs = self._static_inputs()[:, :bucket]
        inputs.copy_(self._send(torch.cat((rows, padding), dim=1)))
        key = _Key(id(decoder), id(cache), bucket)
        recording = self._recordings.get(key) or self._record(key, decoder, inputs, cache)
        if recording is None:
            return _step(decoder, inputs[:, :num_rows], cache)
        self._recordings.move_to_end(key)
        recording.graph.replay()
        return recording.logits[:num_rows].clone()

    def _record(
        self, key: _Key, decoder: Decoder, inputs: Tensor, cache: KVCache
    ) -> _Recording | None:
        """Record a step; None if this decoder cannot be recorded.

        Steps of the warm-up write what the first replay writes, so they change nothing.
        """
        self._api.warm_up(lambda: _step(decoder, inputs, cache))
        try:
            graph = self._api.new_graph()
            with self._api.capture(graph):
                logits = _step(decoder, inputs, cache)
        except Exception as error:
            if self._is_hopeless(error):
                raise
            _log.warning("%s decodes without CUDA graphs: %s", decoder.identity, error)
            self._plain.add(key.decoder)
            self._watch(decoder)
            return None
        self._watch(decoder)
        self._watch(cache)
        if len(self._recordings) >= MAX_GRAPHS:
            self._recordings.popitem(last=False)
        self._recordings[key] = _Recording(graph, logits)
        return self._recordings[key]

    def _send(self, rows: Tensor) -> Tensor:
        """To the card in one transfer that waits for nothing."""
        return self._api.pin(rows).to(self._device, non_blocking=True)

    def _static_inputs(self) -> Tensor:
        if self._inputs is None:
            shape = (4, BUCKETS[-1])
            self._inputs = torch.zeros(shape, dtype=torch.int64, device=self._device)
        return self._inputs

    def _watch(self, thing: object) -> None:
        """Notice when a decoder or a cache is gone: its addresses then belong to others."""
        if id(thing) not in self._watched:
            self._watched.add(id(thing))
            weakref.finalize(thing, self._dead.append, id(thing)).atexit = False

    def _bury(self) -> None:
        """Forget what belonged to objects that are gone."""
        while self._dead:
            gone = self._dead.popleft()
            self._plain.discard(gone)
            self._watched.discard(gone)
            for key in [key for key in self._recordings if gone in (key.decoder, key.cache)]:
                del self._recordings[key]


def _step(decoder: Decoder, inputs: Tensor, cache: KVCache) -> Tensor:
    """`Decoder.step` on the rows of one (4, rows) tensor."""
    tokens, positions, lengths, slots = inputs.unbind()
    return decoder.step(tokens, positions, lengths, slots, cache)
