"""The KV caches that are open, their slots and samplers, and the prompts kept from them.

Decoders whose caches have equal shapes share a pool, so that voices with weights of their own
compete for the same seats instead of each reserving some. Knows rows by their slot only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from kouji.engine.rows import Seat, SegmentRow
from kouji.engine.sampler import Sampler
from kouji.engine.slots import PrefixStore, SlotPool
from kouji.models.stages import Decoder, KVCache, Prompt


@dataclass
class Pool:
    """Slots of one cache, and a sampler for each vocabulary drawn from over them."""

    slots: SlotPool
    samplers: dict[int, Sampler] = field(default_factory=dict)


class Pools:
    """All that lives as long as the engine and is lent to rows."""

    def __init__(
        self,
        open_cache: Callable[[Decoder], KVCache],
        prefixes: PrefixStore,
        device: torch.device,
    ) -> None:
        """Begin without any cache: the first request of a shape opens it.

        open_cache: allocates the cache of a decoder, as large as memory allows
        """
        self.prefixes = prefixes
        self._open_cache, self._device = open_cache, device
        self._pools: dict[str, Pool] = {}

    @property
    def seats(self) -> dict[str, int]:
        """How many rows each open cache holds."""
        return {key: pool.slots.num_slots for key, pool in list(self._pools.items())}

    @property
    def num_used(self) -> int:
        """Slots with an owner, in all caches."""
        return sum(pool.slots.num_used for pool in list(self._pools.values()))

    @property
    def cache_bytes(self) -> int:
        """Memory of all caches, if every seat were written to its end."""
        # A copy: whoever asks for figures does so while the engine's thread opens caches.
        return sum(pool.slots.cache.num_bytes for pool in list(self._pools.values()))

    @property
    def num_bytes(self) -> int:
        """Memory of all caches and of the kept prompts."""
        return self.cache_bytes + self.prefixes.num_bytes

    def open(self, decoder: Decoder) -> None:
        """Allocate the cache a decoder needs, unless it is open."""
        if decoder.cache_key not in self._pools:
            self._pools[decoder.cache_key] = Pool(SlotPool(self._open_cache(decoder)))

    def cache(self, decoder: Decoder) -> KVCache:
        """The cache of a decoder; it must be open."""
        return self._pools[decoder.cache_key].slots.cache

    def sampler(self, decoder: Decoder) -> Sampler:
        """What draws from a decoder's logits, over the slots of its cache."""
        pool = self._pools[decoder.cache_key]
        if decoder.vocabulary not in pool.samplers:
            pool.samplers[decoder.vocabulary] = Sampler(
                decoder.vocabulary, pool.slots.num_slots, self._device
            )
        return pool.samplers[decoder.vocabulary]

    def seat(self, row: SegmentRow, prompt: Prompt) -> None:
        """Give a row a free slot for its prompt."""
        slots = self._pools[row.decoder.cache_key].slots
        room = slots.cache.num_positions - prompt.num_positions
        assert row.seat is None
        num_positions, most = slots.cache.num_positions, min(prompt.max_tokens, room)
        row.seat = Seat(slots.take(row), prompt, num_positions, most, prompt.num_positions)
        if prompt.script is not None:
            prompt.script.on_news(row.wake)

    def release(self, row: SegmentRow) -> None:
        """Take the seat of a row back, in whatever state the row is; again is harmless."""
        if row.seat is None:
            return
        if row.script is not None:
            row.script.on_news(None)
        self.sampler(row.decoder).end(row.seat.slot)
        self._pools[row.decoder.cache_key].slots.give_back(row.seat.slot, row)
        row.seat = None

    def relieve(self) -> None:
        """Free what can be spared: kept prompts, and caches nobody sits in."""
        self.prefixes.clear()
        idle = [key for key, pool in self._pools.items() if not pool.slots.num_used]
        for key in idle:
            del self._pools[key]

    def check_integrity(self) -> None:
        """No slot is lost, and samplers know of owned slots only."""
        self.prefixes.check_integrity()
        for pool in self._pools.values():
            pool.slots.check_integrity()
            num_active = sum(sampler.num_active for sampler in pool.samplers.values())
            assert num_active <= pool.slots.num_used, "a sampler remembers a slot nobody owns"
