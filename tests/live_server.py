"""A real server in a thread of the test, on a port of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx

from kouji.config import Settings
from kouji.serve.models import ModelPool
from kouji.serve.run import Server, listen, make_server
from kouji.serve.service import Service

T = TypeVar("T")


@dataclass(frozen=True)
class Live:
    """A server that answers."""

    url: str
    service: Service
    server: Server

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.server.loop).result(60)

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client of its own; close it."""
        return httpx.Client(base_url=self.url, timeout=60, **options)


class Running:
    """A server for as long as the `with` block lasts."""

    def __init__(
        self,
        settings: Settings,
        open_pool: Callable[[Settings], ModelPool],
        *,
        studio: bool = False,
    ) -> None:
        """studio: off unless asked for, whatever the settings say: importing it takes seconds"""
        self.server = make_server(replace(settings, port=0, studio=studio), open_pool)
        sockets = listen(settings.host, 0)
        self._port = sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self.server.run, args=(sockets,), daemon=True)

    def start(self) -> Live:
        """Serve; returns when it listens, with the models still to come."""
        self._thread.start()
        assert self.server.listens.wait(60), "the server did not start"
        return self._live()

    def _live(self) -> Live:
        return Live(f"http://127.0.0.1:{self._port}", self.server.service, self.server)

    def join(self) -> None:
        """Wait until it has ended by itself."""
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not stop"

    def __enter__(self) -> Live:
        if self.server.listens.is_set():
            return self._live()
        live = self.start()
        self.server.service.loaded.wait(60)
        return live

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.join()
