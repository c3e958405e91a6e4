"""Requests under way, which a server that leaves waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Flight:
    """One request; `end` may be called early, and again."""

    def __init__(self, flights: Flights) -> None:
        self._flights: Flights | None = flights

    def end(self) -> None:
        """Nobody needs to wait for it any more."""
        flights, self._flights = self._flights, None
        if flights is not None:
            flights.landed()


class Flights:
    """How many there are, and whoever waits until there are none."""

    def __init__(self) -> None:
        self.count = 0
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def one(self) -> Iterator[Flight]:
        """A request for as long as the block lasts."""
        self.count += 1
        self._none.clear()
        flight = Flight(self)
        try:
            yield flight
        finally:
            flight.end()

    def landed(self) -> None:
        """One less."""
        self.count -= 1
        if self.count == 0:
            self._none.set()

    async def all_landed(self) -> None:
        """Return when none is under way."""
        await self._none.wait()
