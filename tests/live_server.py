"""A real server in a thread of the test, on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx

from kouji.config import Settings
from kouji.serve.models import ModelPool
from kouji.serve.run import Server, listen, make_server
from kouji.serve.service import Service


@dataclass(frozen=True)
class Live:
    """A server that answers."""

    url: str
    service: Service
    server: Server

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
        self._server = make_server(replace(settings, port=0, studio=studio), open_pool)
        sockets = listen(settings.host, 0)
        self._port = sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._server.run, args=(sockets,), daemon=True)

    def __enter__(self) -> Live:
        self._thread.start()
        assert self._server.listens.wait(60), "the server did not start"
        self._server.service.loaded.wait(60)
        return Live(f"http://127.0.0.1:{self._port}", self._server.service, self._server)

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not stop"
