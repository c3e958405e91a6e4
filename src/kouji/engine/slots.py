"""Who owns which row of a KV cache, and which prompts are kept because they came again.

A `SlotPool` owns one preallocated cache, shared by all decoders whose cache has the same
shape; a slot belongs to one segment from prefill to its last token. A retry needs neither:
its slot still holds the prompt. Knows no requests and computes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kouji.models.stages import KVCache


class SlotPool:
    """Slots of one cache and their owners."""

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self._free = list(range(cache.num_slots - 1, -1, -1))  # the lowest is taken first
        self._owners: dict[int, object] = {}

    @property
    def num_slots(self) -> int:
        """All slots, free or not."""
        return self.cache.num_slots

    @property
    def num_free(self) -> int:
        """Slots nobody owns."""
        return len(self._free)

    @property
    def num_used(self) -> int:
        """Slots with an owner."""
        return len(self._owners)

    def take(self, owner: object) -> int:
        """Give a free slot to `owner`."""
        assert self._free, "the scheduler admits no row without a seat"
        slot = self._free.pop()
        self._owners[slot] = owner
        return slot

    def give_back(self, slot: int, owner: object) -> None:
        """Free a slot; only its owner may."""
        assert self._owners.get(slot) is owner, f"slot {slot} has another owner"
        del self._owners[slot]
        self._free.append(slot)

    def check_integrity(self) -> None:
        """Free and used slots are all slots, each once."""
        slots = sorted([*self._free, *self._owners])
        assert slots == list(range(self.num_slots)), f"slots leaked: {slots} of {self.num_slots}"


@dataclass(frozen=True)
class Prefix:
    """A prefilled prompt: keys and values as the cache copied them out, and the logits after it.

    logits: (vocabulary,) float32 of the first token
    """

    content: Any
    logits: Tensor
    num_bytes: int


class PrefixStore:
    """Prefilled prompts that came more than once, the longest unused dropped first.

    Most prompts never come again, and a copy of their keys and values would be thrown away;
    so the first time only the key is remembered, the second time the copy is kept.
    """

    MAX_KEYS = 4096

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.num_bytes = max_bytes, 0
        self.num_hits = self.num_misses = 0
        self._kept: OrderedDict[tuple[str, str], Prefix] = OrderedDict()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def __contains__(self, key: tuple[str, str]) -> bool:
        """A copy is kept under (decoder identity, prefix key)."""
        return key in self._kept

    def find(self, key: tuple[str, str]) -> Prefix | None:
        """The copy kept under a key, if there is one."""
        prefix = self._kept.get(key)
        if prefix is not None:
            self.num_hits += 1
            self._kept.move_to_end(key)
        return prefix

    def wants(self, key: tuple[str, str], num_bytes: int) -> bool:
        """Whether to copy out a prompt just prefilled: it came before, and it fits."""
        self.num_misses += 1
        has_come_before = key in self._seen
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > self.MAX_KEYS:
            self._seen.popitem(last=False)
        return has_come_before and key not in self._kept and num_bytes <= self.max_bytes

    def keep(self, key: tuple[str, str], prefix: Prefix) -> None:
        """Keep a copy, in place of the longest unused ones."""
        assert key not in self._kept, "a kept prompt is not prefilled again"
        while self._kept and self.num_bytes + prefix.num_bytes > self.max_bytes:
            self.num_bytes -= self._kept.popitem(last=False)[1].num_bytes
        self._kept[key] = prefix
        self.num_bytes += prefix.num_bytes

    def clear(self) -> None:
        """Drop all copies: memory is short."""
        self._kept.clear()
        self.num_bytes = 0

    def check_integrity(self) -> None:
        """The bytes counted are the bytes kept."""
        assert self.num_bytes == sum(prefix.num_bytes for prefix in self._kept.values())
        assert self.num_bytes <= self.max_bytes or not self._kept
