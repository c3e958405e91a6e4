"""Computes the batches the scheduler chose, and hands on which rows failed.

Owns everything that computes: pools of slots, the decode stage, the render stages. All of it
runs on the one thread that owns the device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import cast

from kouji.engine.attempts import Attempts, Failures
from kouji.engine.budget import Memory, Seats, plan_seats
from kouji.engine.decoding import Decoding, StepDevice
from kouji.engine.isolation import Isolation
from kouji.engine.jobs import Action
from kouji.engine.pools import Pools
from kouji.engine.rendering import Rendering
from kouji.engine.rows import SegmentRow
from kouji.engine.settings import EngineSettings
from kouji.engine.slots import PrefixStore
from kouji.errors import ConfigError
from kouji.models.stages import Decoder, KVCache

log = logging.getLogger(__name__)


class Runner:
    """The stages of all families on one device."""

    def __init__(
        self, settings: EngineSettings, device: StepDevice, clock: Callable[[], float]
    ) -> None:
        self._settings, self._device = settings, device
        prefixes = PrefixStore(settings.prefix_bytes)
        self.pools = Pools(self._open_cache, prefixes, device.torch_device)
        self.isolation = Isolation(device, self._relieve)
        self.attempts = Attempts(self.pools, self.isolation)
        self._decoding = Decoding(device, self.isolation, self.pools, self.attempts, clock)
        self._rendering = Rendering(self.isolation, settings, clock)

    def run(self, action: Action) -> Failures:
        """Compute one batch.

        returns: rows that failed, and why
        raises:  DeviceLost
        """
        rows = cast(Sequence[SegmentRow], action.rows)
        if action.kind == "acoustic":
            return self._rendering.acoustic(rows)
        if action.kind == "vocode":
            return self._rendering.vocode(rows)
        if rows[0].job.pool is None:
            return self._rendering.begin(rows)
        if action.kind == "begin":
            failures = self._decoding.begin(rows)
        else:
            failures = self._decoding.step(rows)
        failed = {id(row) for row, _ in failures}
        fed = [row for row in rows if row.has_news and id(row) not in failed]
        return failures + self._rendering.feed(fed)

    def _open_cache(self, decoder: Decoder) -> KVCache:
        """As many seats as the operator wants, or as memory holds and the device can use."""
        try:
            seats = self._plan(decoder)
        except ConfigError:
            self._relieve()  # caches of families nobody speaks just now
            seats = self._plan(decoder)
        log.info("%s: %s", decoder.cache_key, seats.reason)
        return decoder.new_cache(seats.count, seats.num_positions)

    def _plan(self, decoder: Decoder) -> Seats:
        settings, device = self._settings, self._device
        kind = device.torch_device.type
        return plan_seats(
            Memory(device.total_memory, device.free_memory),
            decoder.slot_bytes(settings.max_positions),
            settings.max_positions,
            kind=kind,
            max_seats=settings.max_seats,
            memory_bytes=settings.memory_bytes,
            # On a CPU open caches take their memory only as they are written.
            spoken_for=self.pools.cache_bytes if kind == "cpu" else 0,
        )

    def _relieve(self) -> None:
        self.pools.relieve()
        self._device.release_memory()
