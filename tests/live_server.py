"""A real server in a thread of the test, on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import uvicorn

from kouji.config import Settings
from kouji.serve.app import create_app
from kouji.serve.models import ModelPool
from kouji.serve.service import Service


@dataclass(frozen=True)
class Live:
    """A server that answers."""

    url: str
    service: Service

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client of its own; close it."""
        return httpx.Client(base_url=self.url, timeout=60, **options)


class _Server(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listens = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listens.set()


class Running:
    """A server for as long as the `with` block lasts."""

    def __init__(self, settings: Settings, open_pool: Callable[[Settings], ModelPool]) -> None:
        self._service = Service(replace(settings, port=0), open_pool)
        config = uvicorn.Config(
            create_app(self._service), port=0, log_level="warning", lifespan="on", loop="asyncio"
        )
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Live:
        self._thread.start()
        assert self._server.listens.wait(60), "the server did not start"
        port = self._server.servers[0].sockets[0].getsockname()[1]
        live = Live(f"http://127.0.0.1:{port}", self._service)
        self._service.loaded.wait(60)
        return live

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not stop"
