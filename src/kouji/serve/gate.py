"""The gate: how many requests are worked on, how many wait, and who is next.

Beyond the queue a request is refused at once, before anything is read or computed for it, so
that those inside keep their speed. Waiting callers take turns, each with its oldest request
first. One caller may fill the whole queue, but not against others: a full queue makes room for
who waits least by refusing the newest request of who waits most. Lives on one event loop; knows
no HTTP.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from kouji.errors import DeadlineExceeded, Overloaded

QUEUE_PER_SEAT = 4
_SMOOTHING = 0.1  # of the mean time a seat is held: about the last ten count
_FIRST_GUESS_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60


class Seat:
    """A place inside; give it back with `leave`, as often as you like."""

    def __init__(self, on_leave: Callable[[], None]) -> None:
        self._on_leave: Callable[[], None] | None = on_leave

    def leave(self) -> None:
        """Free the place; the next in turn gets it at once."""
        on_leave, self._on_leave = self._on_leave, None
        if on_leave is not None:
            on_leave()


class Gate:
    """Seats and a bounded queue in front of them."""

    def __init__(
        self, seats: int, queue: int = 0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open the gate.

        seats: requests inside at once
        queue: requests waiting at most; 0 means four for each seat
        clock: seconds that never go back
        """
        self.seats, self.queue = seats, queue or QUEUE_PER_SEAT * seats
        self.num_inside = self.num_waiting = 0  # plain numbers: figures read them in a thread
        self._clock = clock
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._mean_seconds = _FIRST_GUESS_SECONDS
        self._is_closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def is_full(self) -> bool:
        """One more request would be refused."""
        return self.num_inside >= self.seats and self.num_waiting >= self.queue

    def close(self) -> None:
        """Refuse every newcomer from now on; those who wait are still served."""
        self._is_closed = True

    def retry_after(self) -> float:
        """Seconds until a newcomer would probably find room."""
        rounds = (self.num_waiting + 1) / self.seats
        return min(_LONGEST_RETRY_SECONDS, max(1, math.ceil(rounds * self._mean_seconds)))

    def check(self, client: str) -> None:
        """Refuse before anything is read, where entering would be refused.

        raises: Overloaded
        """
        if self._is_closed:
            raise Overloaded("the server is shutting down", retry_after=self.retry_after())
        if self.is_full and self._greediest(client) is None:
            raise self._refusal()

    def _refusal(self) -> Overloaded:
        return Overloaded(
            "the server has as many requests as it takes",
            seen=f"{self.num_inside} at work, {self.num_waiting} waiting",
            retry_after=self.retry_after(),
            cure="send the request again later",
        )

    def _greediest(self, client: str) -> str | None:
        """Who waits with the most requests, if one more of this client would still be fewer."""
        greediest = max(self._waiting, key=lambda each: len(self._waiting[each]), default=None)
        if greediest is None:
            return None
        num_own = len(self._waiting.get(client, ()))
        return greediest if num_own + 1 < len(self._waiting[greediest]) else None

    def _make_room(self, client: str) -> None:
        """In a full queue, refuse the newest request of who waits with the most."""
        greediest = self._greediest(client) if self.is_full else None
        if greediest is not None:
            turn = self._waiting[greediest].pop()
            self.num_waiting -= 1
            if not turn.done():
                turn.set_exception(self._refusal())

    async def empty(self) -> None:
        """Return when nobody is inside; whoever waits gets in before that."""
        await self._empty.wait()

    async def enter(self, client: str, seconds: float | None = None) -> Seat:
        """Wait for a seat, in turn with other clients.

        seconds: to wait at most; None for ever
        raises:  Overloaded at once if there is no room to wait, or later if a client that waits
                 less needs the room; DeadlineExceeded
        """
        self.check(client)
        self._make_room(client)
        if self.num_inside >= self.seats or self._waiting:
            try:
                async with asyncio.timeout(seconds):
                    await self._wait(client)
            except TimeoutError:
                raise DeadlineExceeded(
                    "no seat became free in time", allowed=f"{seconds:g} s"
                ) from None
        else:
            self.num_inside += 1
            self._empty.clear()
        entered = self._clock()
        return Seat(lambda: self._left(self._clock() - entered))

    async def _wait(self, client: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(client, deque())
        line.append(turn)
        self.num_waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.done() or turn.cancelled():
                self._forget(client, turn)
            elif turn.exception() is None:
                self._release()  # the seat came in the very moment the caller left
            raise

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        """Take who gave up out of its line, unless its turn came between giving up and this."""
        line = self._waiting.get(client, deque())
        if turn in line:
            line.remove(turn)
            self.num_waiting -= 1
        if not line:
            self._waiting.pop(client, None)

    def _left(self, held_seconds: float) -> None:
        self._mean_seconds += _SMOOTHING * (held_seconds - self._mean_seconds)
        self._release()

    def _release(self) -> None:
        """Hand the seat to the client whose turn it is, or keep it free."""
        while self._waiting:
            client, line = self._waiting.popitem(last=False)
            turn = line.popleft()
            self.num_waiting -= 1
            if line:
                self._waiting[client] = line  # behind the others now
            if not turn.done():
                turn.set_result(None)
                return
        self.num_inside -= 1
        if self.num_inside == 0:
            self._empty.set()
