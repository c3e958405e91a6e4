"""Networks that are loaded by the first who asks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

N = TypeVar("N")


class Once(Generic[N]):
    """A network loaded by the first who asks for it, in whichever thread; a failure is not kept."""

    def __init__(self, load: Callable[[], N]) -> None:
        self._load, self._lock = load, threading.Lock()
        self._network: N | None = None

    def __call__(self) -> N:
        """The network; raises what loading raises."""
        with self._lock:
            if self._network is None:
                self._network = self._load()
            return self._network
