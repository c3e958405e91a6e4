"""How much the streams of one flow may keep together, and which of them may keep more.

Beyond the bound a stream computes its past again with every piece: the same numbers, more work.
Knows nothing of what is kept.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol
from weakref import WeakSet

import torch

CACHE_SHARE = 4  # of a device's memory a quarter
PROMPT_SHARE = 16  # and so much for prompts kept by voice
CPU_BYTES = 16 << 30  # of memory, where nobody measured it


class Stream(Protocol):
    """A segment that keeps something; an exact one does not look at what others keep."""

    is_exact: bool

    @property
    def bytes_due(self) -> int:
        """Memory of what it keeps, and will keep when its piece is solved; shared parts apart."""
        ...


class CacheRoom:
    """The bound; forgets a stream with the last who refers to it."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._streams: WeakSet[Stream] = WeakSet()

    def add(self, stream: Stream) -> None:
        """Count this stream from now on."""
        self._streams.add(stream)

    def holds(self, stream: Stream, num_bytes: int) -> bool:
        """True if this stream may keep so much in all."""
        if stream.is_exact:
            return num_bytes <= self.max_bytes
        others = sum(other.bytes_due for other in self._streams if other is not stream)
        return others + num_bytes <= self.max_bytes


class CacheBounds(NamedTuple):
    """Bytes for what streams keep, and for prompts kept by voice."""

    streams: int
    prompts: int


def cache_bounds(device: torch.device, num_bytes: int | None = None) -> CacheBounds:
    """What a flow may keep on a device.

    num_bytes: of memory the device has; None asks a card, and takes a CPU for a small machine, as
               only its operator knows what the rest is for
    """
    if num_bytes is None:
        is_card = device.type == "cuda"
        num_bytes = torch.cuda.get_device_properties(device).total_memory if is_card else CPU_BYTES
    return CacheBounds(num_bytes // CACHE_SHARE, num_bytes // PROMPT_SHARE)
