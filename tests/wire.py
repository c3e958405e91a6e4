"""A client that says exactly what it is told, byte by byte, which no library would."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from live_server import Live


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Wire:
    """One connection to a server; closed with its `with` block."""

    def __init__(self, live: Live, *, receive_buffer: int | None = None) -> None:
        place = urlsplit(live.url)
        self.socket = socket.socket()
        self.socket.settimeout(60)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect((place.hostname, place.port))
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self.socket.sendall(data)

    def post(self, path: str, body: object, headers: str = "") -> None:
        """Send a whole request with a JSON body."""
        content = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n{headers}\r\n"
        )
        self.send(head.encode() + content)

    def head(self) -> tuple[int, dict[str, str]]:
        """Read the status and the headers of an answer."""
        line = self._file.readline()
        assert line, "the server hung up without an answer"
        headers = {}
        while (field := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = field.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        return int(line.split()[1]), headers

    def answer(self) -> Answer:
        """Read a whole answer; a chunked one that ends early is an error."""
        status, headers = self.head()
        if headers.get("transfer-encoding") != "chunked":
            return Answer(status, headers, self._file.read(int(headers.get("content-length", 0))))
        body = b""
        while True:
            size = self._file.readline()
            assert size, "the answer ended in the middle"
            chunk = self._file.read(int(size, 16) + 2)
            if len(chunk) == 2:
                return Answer(status, headers, body)
            body += chunk[:-2]

    def is_closed(self) -> bool:
        """The server has hung up; waits for it."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True
