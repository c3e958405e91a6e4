"""Computes a batch so that only guilty rows fail.

A batch that raises is split and its halves are computed alone, down to the one row that cannot
be. Stages make this safe: what raises has not moved any row (a cache position written twice is
written alike). Knows nothing of what is computed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from kouji.errors import EngineFailed, KoujiError

R = TypeVar("R")
T = TypeVar("T")

log = logging.getLogger(__name__)


class Faults(Protocol):
    """What a device knows about errors; see `device.Device`."""

    def is_out_of_memory(self, error: BaseException) -> bool: ...
    def is_fatal(self, error: BaseException) -> bool: ...


class DeviceLost(Exception):
    """The device cannot go on; the cause says why."""


class Isolation:
    """How failures are told apart on one device."""

    def __init__(self, faults: Faults, relieve: Callable[[], None]) -> None:
        """Split batches of one device.

        relieve: frees what memory can be spared, called after the device ran out of it
        """
        self._faults, self._relieve = faults, relieve
        self.num_splits = 0

    def compute(
        self, rows: Sequence[R], function: Callable[[Sequence[R]], Sequence[T]]
    ) -> list[tuple[R, T | Exception]]:
        """Each row with its part of `function(rows)`, or with why it cannot have one.

        raises: DeviceLost
        """
        return self._compute(list(rows), function, may_relieve=True)

    def _compute(
        self, rows: list[R], function: Callable[[Sequence[R]], Sequence[T]], *, may_relieve: bool
    ) -> list[tuple[R, T | Exception]]:
        if not rows:
            return []
        try:
            return list(zip(rows, function(rows), strict=True))
        except Exception as error:
            if self._faults.is_fatal(error):
                raise DeviceLost(str(error)) from error
            is_out_of_memory = self._faults.is_out_of_memory(error)
            log.debug("a batch of %d failed", len(rows), exc_info=True)
            # Its traceback holds the tensors of the failed batch, which must not outlive it.
            failure = error.with_traceback(None)
        if is_out_of_memory and may_relieve:
            self._relieve()
            if len(rows) == 1:
                return self._compute(rows, function, may_relieve=False)
        if len(rows) == 1:
            return [(rows[0], failure)]
        self.num_splits += 1
        middle = len(rows) // 2
        return [
            *self._compute(rows[:middle], function, may_relieve=may_relieve),
            *self._compute(rows[middle:], function, may_relieve=may_relieve),
        ]


def explain(failure: Exception, *, is_sound: bool = True) -> KoujiError:
    """What the caller of a failed request is told; `is_sound` as in the request."""
    if isinstance(failure, KoujiError):
        return failure
    other = "a shorter text, or another voice" if is_sound else "another sound"
    error = EngineFailed(
        "a stage failed on this request",
        seen=f"{type(failure).__name__}: {failure}",
        cure=f"try {other}; report it if it happens again",
    )
    error.__cause__ = failure
    return error
