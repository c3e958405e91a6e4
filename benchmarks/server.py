"""How fast the server lets go: seats of callers who hang up, and refusals while it is full.

    python benchmarks/server.py [--leavers 100] [--refusals 200] [--threads 1]

The whole server with `mini`, on a real port, in this process, so that its gate and its engine can
be watched to the millisecond. `benchmarks/load.py` measures a server in a process of its own.
Prints a table and, as its last line, one JSON object. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from kouji.config import Settings
from kouji.serve.run import Server, listen, make_server

TEXT = "The evening train was late again, so we left the station and walked along the river. " * 4
LOOK_SECONDS = 0.0005  # between two looks at the gate
LONGEST_WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Spread:
    """Milliseconds of many events."""

    count: int
    p50_ms: float
    p95_ms: float
    max_ms: float


class Target:
    """A warm server on a port of this machine."""

    def __init__(self, home: Path, threads: int, seats: int, queue: int) -> None:
        settings = Settings(home=home, port=0, threads=threads, serve_seats=seats,
                            serve_queue=queue, studio=False)  # fmt: skip
        self.server: Server = make_server(settings)
        sockets = listen(settings.host, 0)
        self.port = sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self.server.run, args=(sockets,), daemon=True)
        self._thread.start()
        self.server.listens.wait()
        self.server.service.loaded.wait()

    def ask(self, text: str = TEXT) -> socket.socket:
        """Send a whole request; the caller reads the answer, or hangs up."""
        body = json.dumps({"input": text, "response_format": "pcm"}).encode()
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(
            b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        return connection

    def is_inside(self) -> bool:
        """A request holds a seat, or waits for one."""
        gate = self.server.service.gate
        return gate.num_inside + gate.num_waiting > 0

    def is_computing(self) -> bool:
        """The engine has a request."""
        return self.server.service.models.get().engine.stats().num_requests > 0

    def stop(self) -> None:
        """End it."""
        self.server.should_exit = True
        self._thread.join()


def main() -> None:
    """Measure, print."""
    options = parse_options()
    random.seed(0)
    found: dict[str, Spread] = {}
    with tempfile.TemporaryDirectory() as home:
        target = Target(Path(home), options.threads, seats=8, queue=8)
        read_all(target.ask())  # text tables and caches are there now
        found |= leave(target, options.leavers)
        target.stop()
        target = Target(Path(home), options.threads, seats=2, queue=1)
        found |= refuse(target, options.refusals)
        target.stop()
    print(f"{'':46}{'n':>5}{'p50 ms':>9}{'p95 ms':>9}{'max ms':>9}")
    for name, spread in found.items():
        print(f"{name:46}{spread.count:5}{spread.p50_ms:9.1f}{spread.p95_ms:9.1f}"
              f"{spread.max_ms:9.1f}")  # fmt: skip
    print(json.dumps({"machine": platform.processor() or platform.machine(),
                      "threads": options.threads,
                      **{name: asdict(spread) for name, spread in found.items()}}))  # fmt: skip


def leave(target: Target, count: int) -> dict[str, Spread]:
    """Callers who hang up before the first sound, and after it."""
    found = {}
    for moment in ("before", "after"):
        seat: list[float] = []
        engine: list[float] = []
        for _ in range(count):
            connection = target.ask()
            wait_until(target.is_inside)
            if moment == "before":
                time.sleep(random.uniform(0.0, 0.02))
            else:
                connection.recv(4096)
            began = time.perf_counter()
            connection.close()
            seat.append(wait_until(lambda: not target.is_inside()) - began)
            engine.append(wait_until(lambda: not target.is_computing()) - began)
        found[f"hangs up {moment} the first sound: seat free"] = spread_of(seat)
        found[f"hangs up {moment} the first sound: engine free"] = spread_of(engine)
    return found


def refuse(target: Target, count: int) -> dict[str, Spread]:
    """Refusals while all seats and the queue are taken, and the engine is at work."""
    stop = threading.Event()

    def occupy() -> None:
        while not stop.is_set():
            read_all(target.ask())

    busy = [threading.Thread(target=occupy, daemon=True) for _ in range(2)]
    for thread in busy:
        thread.start()
    gate = target.server.service.gate
    # The last place to wait is taken by hand, so that every request from here on is one too many.
    refusals: list[float] = []
    while len(refusals) < count:
        waiting = asyncio.run_coroutine_threadsafe(gate.enter("bench"), target.server.loop)
        while not waiting.done() and len(refusals) < count:
            began = time.perf_counter()
            answer = read_all(target.ask())
            if answer.startswith(b"HTTP/1.1 503"):
                refusals.append(time.perf_counter() - began)
        target.server.loop.call_soon_threadsafe(waiting.result().leave)
    stop.set()
    for thread in busy:
        thread.join()
    return {"refused while full": spread_of(refusals)}


def read_all(connection: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    with connection:
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def wait_until(is_so: Callable[[], bool]) -> float:
    """The moment from which on it is so."""
    end = time.perf_counter() + LONGEST_WAIT_SECONDS
    while not is_so():
        if time.perf_counter() > end:
            raise SystemExit("a seat was never given back")
        time.sleep(LOOK_SECONDS)
    return time.perf_counter()


def spread_of(seconds: list[float]) -> Spread:
    """The spread of these durations."""
    ordered = sorted(1000 * each for each in seconds)
    return Spread(
        len(ordered),
        round(statistics.median(ordered), 2),
        round(ordered[int(0.95 * (len(ordered) - 1))], 2),
        round(ordered[-1], 2),
    )


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leavers", type=int, default=100)
    parser.add_argument("--refusals", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
