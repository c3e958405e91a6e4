"""When a stream of sound ran dry: a chunk was ready only after those before it had been played.

Imagines a listener who plays from the first chunk on. Sound nobody has fetched yet cannot run
dry, so a slow reader's own pauses do not count.
"""

from __future__ import annotations

_TOLERANCE_SECONDS = 0.02  # what any player buffers


class Playhead:
    """The imagined listener of one stream; times are seconds of one clock."""

    def __init__(self) -> None:
        self.num_underruns = 0
        self._plays_until: float | None = None
        self._asked_at = 0.0

    def asked(self, now: float) -> None:
        """The reader wants the next chunk."""
        self._asked_at = now

    def came(self, now: float, seconds: float) -> None:
        """A chunk with so much sound was ready."""
        if self._plays_until is None:
            self._plays_until = now + seconds
            return
        is_dry = now > self._plays_until + _TOLERANCE_SECONDS
        if is_dry and self._asked_at <= self._plays_until:
            self.num_underruns += 1
        self._plays_until = max(self._plays_until, now) + seconds
