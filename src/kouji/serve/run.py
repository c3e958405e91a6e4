"""A server from its start to its end: sockets, signals, draining.

The first SIGTERM or SIGINT lets what is under way finish while newcomers are told to come again;
after `drain_seconds` the rest is ended; a second signal ends everything at once. Decides the
consent policy by who can reach the server. What is answered is the app's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import uvicorn
from fastapi import FastAPI

from kouji.config import Settings
from kouji.errors import KoujiError, UsageError
from kouji.serve.app import create_app
from kouji.serve.keys import KeyRing
from kouji.serve.models import ModelPool, open_models
from kouji.serve.origins import is_loopback
from kouji.serve.protocol import bounded_protocol
from kouji.serve.service import Service

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_EXIT_KILLED = 128  # plus the signal, as shells count
_BACKLOG = 2048  # connections the system holds until they are taken
_UNWIND_SECONDS = 2  # for what was cancelled
_log = logging.getLogger(__name__)


def reachable(settings: Settings, *, is_insecure: bool = False) -> Settings:
    """The settings of a server at this address: others' voices are verified where others come in.

    raises: UsageError where others could come in without a key
    """
    if is_loopback(settings.host):
        return settings
    if KeyRing(settings.home).is_empty and not is_insecure:
        raise UsageError(
            "without keys the server listens to this machine only",
            seen=settings.host,
            allowed="127.0.0.1, ::1, localhost",
            cure="make a key with kouji key add, or let anybody in with --insecure",
        )
    return replace(settings, consent="verify") if settings.consent == "auto" else settings


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of a name, all with one port; 0 takes a free one.

    raises: UsageError for a name that is none, or a port that is taken
    """
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in _addresses(host, port):
            place = (address[0], port, *address[2:])
            sockets.append(_bound(family, kind, protocol, place))
            port = sockets[-1].getsockname()[1]
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


class Server(uvicorn.Server):
    """uvicorn with our way of ending; `listens` is set when it answers, on `loop`."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self.listens = threading.Event()
        self._app, self.service = app, app.state.service
        self._draining: asyncio.Task[None] | None = None
        self.fault: KoujiError | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and watch how loading goes."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.listens.set()
        self._app.state.loading.add_done_callback(self._loaded)

    def _loaded(self, loading: asyncio.Future[None]) -> None:
        """A server without models is of no use to anybody."""
        if not loading.cancelled() and (error := loading.exception()) is not None:
            if not isinstance(error, KoujiError):
                raise error
            self.fault, self.should_exit = error, True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Our signals instead of uvicorn's, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.leave, number)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
                signal.signal(number, before[number])

    def leave(self, number: int) -> None:
        """Begin to drain; asked again, end at once."""
        if self._draining is not None:
            _log.warning("ended at once by a second signal")
            logging.shutdown()
            os._exit(_EXIT_KILLED + number)
        self._draining = asyncio.get_running_loop().create_task(self.drain())

    async def drain(self) -> None:
        """Refuse newcomers, wait for those inside, then stop listening."""
        seconds = self.service.settings.drain_seconds
        self.service.drain()
        _log.info("draining for up to %g s", seconds)
        try:
            async with asyncio.timeout(seconds):
                await self.service.gate.empty()
                await self._app.state.flights.all_landed()
        except TimeoutError:
            flights = self._app.state.flights.count
            _log.warning("%d requests were not done in %g s and are ended", flights, seconds)
        self.should_exit = True


def make_server(
    settings: Settings,
    open_pool: Callable[[Settings], ModelPool] = open_models,
    *,
    is_insecure: bool = False,
) -> Server:
    """A server with these settings, not yet running; `.run(sockets=listen(...))` serves."""
    service = Service(settings, open_pool, is_insecure=is_insecure)
    app = create_app(service)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=bounded_protocol(settings.max_connections, settings.body_seconds),
        ws="websockets-sansio",
        ws_max_size=int(settings.max_body_mb * 1_000_000),
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips="127.0.0.1,::1",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_UNWIND_SECONDS,
    )
    return Server(config, app)


def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError, OverflowError) as error:
        raise UsageError(
            "no address to listen at", seen=host, allowed="an address or name of this machine"
        ) from error
    return list(dict.fromkeys(found))


def _bound(family: int, kind: int, protocol: int, place: tuple[object, ...]) -> socket.socket:
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        listener.listen(_BACKLOG)  # two that are only bound would share the port
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen at {place[0]} port {place[1]}",
            seen=error.strerror,
            cure="end what uses the port, or choose another with --port",
        ) from error
    listener.setblocking(False)
    return listener
