"""What a flow has computed of voices' prompts, kept for their next segments.

Bounded in bytes; the voice not heard for longest goes first. Knows nothing of what it keeps.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """Something with a size in memory."""

    @property
    def num_bytes(self) -> int:
        """Memory it holds."""
        ...


Kept = TypeVar("Kept", bound=Sized)


class KeptPrompts(Generic[Kept]):
    """By content hash of the voice; what it gives is shared and must not be written to."""

    def __init__(self, max_bytes: int) -> None:
        """max_bytes: a prompt larger than this is never kept"""
        self.max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    @property
    def num_bytes(self) -> int:
        """Memory of all prompts."""
        return sum(kept.num_bytes for kept in self._kept.values())

    def get(self, key: str) -> Kept | None:
        """The prompt of this voice, if it is still there."""
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def put(self, key: str, prompt: Kept) -> Kept:
        """Keep it if it fits, and let others go until all do; returns the one to go on with."""
        kept = self.get(key)
        if kept is not None:
            return kept
        if prompt.num_bytes <= self.max_bytes:
            self._kept[key] = prompt
        while self.num_bytes > self.max_bytes:
            self._kept.popitem(last=False)
        return prompt

    def holds(self, prompt: Kept) -> bool:
        """True where somebody else counts its memory."""
        return any(kept is prompt for kept in self._kept.values())
