"""Weights in memory: loaded once, shared by who asks, the longest unused dropped for new ones.

    residents = Residents(budget_bytes, load)
    with residents.hold("anna") as model:
        ...                        # stays in memory and is the same object for every holder

The budget is kept by dropping what nobody holds. If all is held, a new load waits for a release
up to `wait_seconds` and is then refused: going on would end in no memory for anyone. Only weights
that exceed the budget all by themselves are loaded over it, with a warning, for they could never
be served otherwise. Knows keys and sizes; what a key means and how it is loaded is the caller's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from kouji.errors import EngineBusy
from kouji.models.out_of_memory import is_out_of_memory


class Sized(Protocol):
    """What can be resident."""

    @property
    def num_bytes(self) -> int: ...


K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Sized)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResidentStats:
    """Counts since the start, and the state now."""

    num_resident: int
    num_held: int
    num_bytes: int
    budget_bytes: int
    num_loads: int
    num_hits: int
    num_evictions: int
    num_failures: int


class _Entry(Generic[V]):
    """One key: first awaited, then there, or failed and forgotten."""

    def __init__(self) -> None:
        self.value: V | None = None
        self.error: BaseException | None = None
        self.is_done = False
        self.num_bytes = 0  # before it is there: what is set aside for it
        self.num_holds = 0
        self.num_waiting = 0


class Residents(Generic[K, V]):
    """Values by key within a budget; safe to use from any number of threads."""

    def __init__(
        self,
        budget_bytes: int,
        load: Callable[[K], V],
        *,
        estimate: Callable[[K], int] | None = None,
        wait_seconds: float = 30.0,
    ) -> None:
        """Begin empty.

        load:         makes a value; called without the lock, once for all who ask meanwhile
        estimate:     bytes a value will take, to make room before; None takes the largest so far
        wait_seconds: for holders to let go, if all the budget is held
        """
        self.budget_bytes, self._load, self._wait_seconds = budget_bytes, load, wait_seconds
        self._estimate = estimate
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()  # newest use last
        self._changed = threading.Condition()
        self._largest = 0
        self._num_loads = self._num_hits = self._num_evictions = self._num_failures = 0

    @contextmanager
    def hold(self, key: K) -> Iterator[V]:
        """The value of a key, kept in memory inside the block; see `acquire`."""
        value = self.acquire(key)
        try:
            yield value
        finally:
            self.release(key)

    def acquire(self, key: K) -> V:
        """Hold the value of a key until `release`; loads it if need be.

        raises: what `load` raises, in every thread that waited for it, and it is tried anew the
                next time; EngineBusy if all the budget stays held
        """
        with self._changed:
            while (entry := self._entries.get(key)) is not None:
                if entry.is_done:
                    self._num_hits += 1
                    entry.num_holds += 1
                    self._entries.move_to_end(key)
                    return _value_of(entry)
                self._await(entry)
                if entry.error is not None:
                    raise entry.error
                if entry.is_done:
                    return _value_of(entry)  # the loader counted our hold
            entry = self._entries[key] = _Entry()
        try:
            self._reserve(key, entry)
            value = self._load_with_room(key)
            num_bytes = value.num_bytes
        except BaseException as error:
            self._fail(key, entry, error)
            raise
        self._admit(entry, value, num_bytes)
        return value

    def release(self, key: K) -> None:
        """Give back one hold; the value stays while there is room."""
        with self._changed:
            entry = self._entries.get(key)
            assert entry is not None, "released without being held"
            assert entry.num_holds > 0, "released more often than held"
            entry.num_holds -= 1
            dropped = self._drop_to(self.budget_bytes)
            self._changed.notify_all()
        del dropped  # memory is freed outside the lock

    def _load_with_room(self, key: K) -> V:
        """Load; where memory runs out although the budget has room, once more without the idle."""
        try:
            return self._load(key)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or not self.shed():
                raise
        _log.warning("memory ran out while loading %s: dropped all weights not in use", key)
        return self._load(key)

    def shed(self) -> int:
        """Drop all that nobody holds: memory is short.

        returns: bytes given back
        """
        with self._changed:
            before = self._num_bytes()
            dropped = self._drop_to(-1)
            freed = before - self._num_bytes()
            self._changed.notify_all()
        del dropped
        return freed

    def stats(self) -> ResidentStats:
        """Counts since the start, and the state now."""
        with self._changed:
            there = [entry for entry in self._entries.values() if entry.is_done]
            return ResidentStats(
                num_resident=len(there),
                num_held=sum(entry.num_holds > 0 for entry in there),
                num_bytes=sum(entry.num_bytes for entry in there),
                budget_bytes=self.budget_bytes,
                num_loads=self._num_loads,
                num_hits=self._num_hits,
                num_evictions=self._num_evictions,
                num_failures=self._num_failures,
            )

    def check_integrity(self) -> None:
        """Nothing is lost or counted twice, and only what is held exceeds the budget."""
        with self._changed:
            for key, entry in self._entries.items():
                assert entry.num_holds >= 0, key
                assert entry.num_waiting >= 0, key
                assert entry.is_done == (entry.value is not None), key
                assert entry.is_done or entry.num_holds == 0, key
                assert entry.error is None, f"{key} failed and is kept"
            if self._num_bytes() > self.budget_bytes:
                idle = [key for key, entry in self._entries.items() if _is_idle(entry)]
                assert not idle, f"{idle} could be dropped"
            loads = self._num_loads - self._num_evictions
            assert loads == sum(entry.is_done for entry in self._entries.values())

    def _await(self, entry: _Entry[V]) -> None:
        """Wait until another thread has loaded the entry, or failed to; called with the lock."""
        entry.num_waiting += 1
        try:
            while self._is_pending(entry):
                self._changed.wait()
        except BaseException:
            # Interrupted: give back what the loader may have counted for us meanwhile.
            if entry.is_done:
                entry.num_holds -= 1
            raise
        finally:
            entry.num_waiting -= 1

    def _is_pending(self, entry: _Entry[V]) -> bool:
        is_known = any(other is entry for other in self._entries.values())
        return is_known and not entry.is_done

    def _reserve(self, key: K, entry: _Entry[V]) -> None:
        """Set memory aside for a load, waiting for room if need be."""
        expected = self._largest if self._estimate is None else self._estimate(key)
        deadline = time.monotonic() + self._wait_seconds
        with self._changed:
            dropped = self._drop_to(self.budget_bytes - expected)
            while self._num_bytes() + expected > self.budget_bytes and self._others_in_use(entry):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise self._refusal(expected)
                self._changed.wait(remaining)
                dropped += self._drop_to(self.budget_bytes - expected)
            entry.num_bytes = expected
        del dropped

    def _others_in_use(self, entry: _Entry[V]) -> bool:
        return any(
            other is not entry and other.num_bytes > 0 and not _is_idle(other)
            for other in self._entries.values()
        )

    def _refusal(self, expected: int) -> EngineBusy:
        return EngineBusy(
            "no memory for another set of weights: all that is there is in use",
            seen=f"{self._num_bytes() >> 20} MiB in use, {expected >> 20} MiB wanted",
            allowed=f"{self.budget_bytes >> 20} MiB",
            cure="try again later, or allow more memory for weights",
        )

    def _admit(self, entry: _Entry[V], value: V, num_bytes: int) -> None:
        """Hand a loaded value to all who waited."""
        with self._changed:
            entry.value, entry.num_bytes, entry.is_done = value, num_bytes, True
            entry.num_holds = 1 + entry.num_waiting
            self._num_loads += 1
            self._largest = max(self._largest, num_bytes)
            dropped = self._drop_to(self.budget_bytes)
            excess = self._num_bytes() - self.budget_bytes
            self._changed.notify_all()
        del dropped
        if excess > 0:
            _log.warning(
                "weights in use exceed their budget of %d MiB by %d MiB",
                self.budget_bytes >> 20,
                -(-excess >> 20),
            )

    def _fail(self, key: K, entry: _Entry[V], error: BaseException) -> None:
        """Forget an entry; ordinary errors reach all who waited, an interrupt only its thread."""
        with self._changed:
            self._num_failures += 1
            entry.error = error if isinstance(error, Exception) else None
            del self._entries[key]
            self._changed.notify_all()

    def _num_bytes(self) -> int:
        """Bytes there and set aside."""
        return sum(entry.num_bytes for entry in self._entries.values())

    def _drop_to(self, limit: int) -> list[_Entry[V]]:
        """Forget idle entries, the longest unused first, until `limit` is kept or none is left.

        returns: them, so that the caller frees them after it has let go of the lock
        """
        dropped = []
        for key in [key for key, entry in self._entries.items() if _is_idle(entry)]:
            if self._num_bytes() <= limit:
                break
            dropped.append(self._entries.pop(key))
            self._num_evictions += 1
        return dropped


def _is_idle(entry: _Entry[V]) -> bool:
    return entry.is_done and entry.num_holds == 0


def _value_of(entry: _Entry[V]) -> V:
    assert entry.value is not None
    return entry.value
