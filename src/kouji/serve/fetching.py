"""Fetch a recording from a host the operator allowed, without being led elsewhere.

The name is looked up once, every address it has must be public, and the connection goes to the
address that was checked: a name that answers differently the second time gains nothing. Size,
time and redirects are bounded. Knows HTTP/1.1; what the bytes are is not its business.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from urllib.parse import urljoin

import anyio
import h11

from kouji.errors import KoujiError, NotAllowed, TooLarge, UnreadableAudio
from kouji.serve.addresses import Place, check_url, is_public

MAX_REDIRECTS = 3
FETCH_SECONDS = 15.0  # for everything: names, connections, redirects, the whole body
_REDIRECTS = (301, 302, 303, 307, 308)
_PIECE_BYTES = 65536

Resolve = Callable[[str, int], Awaitable[list[str]]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[str, Place], Awaitable[Streams]]


async def resolve_name(host: str, port: int) -> list[str]:
    """All addresses of a host; OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def connect_to(address: str, place: Place) -> Streams:
    """A connection to this very address; the certificate must be the host's."""
    if place.scheme == "http":
        return await asyncio.open_connection(address, place.port)
    context = ssl.create_default_context()
    return await asyncio.open_connection(
        address, place.port, ssl=context, server_hostname=place.host
    )


class Fetcher:
    """Fetches from the hosts one operator allowed; holds no state of a request."""

    def __init__(
        self,
        allowed_hosts: str,
        max_bytes: int,
        *,
        seconds: float = FETCH_SECONDS,
        resolve: Resolve = resolve_name,
        connect: Connect = connect_to,
    ) -> None:
        """resolve, connect: how names and connections come about."""
        self.allowed_hosts, self.max_bytes, self.seconds = allowed_hosts, max_bytes, seconds
        self._resolve, self._connect = resolve, connect

    async def fetch(self, url: str) -> bytes:
        """The body behind a URL.

        raises: UsageError, NotAllowed, TooLarge, UnreadableAudio where nothing usable came
        """
        try:
            with anyio.fail_after(self.seconds):
                return await self._follow(url)
        except TimeoutError as error:
            raise _failed(f"not there within {self.seconds:g} s") from error
        except (OSError, h11.ProtocolError, EOFError) as error:
            raise _failed(type(error).__name__) from error

    async def _follow(self, url: str) -> bytes:
        for _ in range(1 + MAX_REDIRECTS):
            answer = await self._get(check_url(url, self.allowed_hosts))
            if isinstance(answer, bytes):
                return answer
            url = urljoin(url, answer)
        raise _failed(f"more than {MAX_REDIRECTS} redirects")

    async def _get(self, place: Place) -> bytes | str:
        """The body, or where the answer points to."""
        addresses = await self._resolve(place.host, place.port)
        if not addresses or not all(map(is_public, addresses)):
            raise NotAllowed(
                "this host is not in the open internet",
                seen=place.host,
                allowed="hosts all of whose addresses are public",
            )
        reader, writer = await self._connect(addresses[0], place)
        try:
            return await self._exchange(place, reader, writer)
        finally:
            writer.transport.abort()  # nothing is left to say, and the other side may be slow

    async def _exchange(
        self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes | str:
        talk = h11.Connection(h11.CLIENT)
        headers = [
            ("Host", place.authority),
            ("Accept", "audio/*, */*;q=0.1"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "kouji"),
            ("Connection", "close"),
        ]
        request = h11.Request(method="GET", target=place.target, headers=headers)
        writer.write((talk.send(request) or b"") + (talk.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        body = bytearray()
        while True:
            event = talk.next_event()
            if event is h11.NEED_DATA:
                talk.receive_data(await reader.read(_PIECE_BYTES))
            elif isinstance(event, h11.Response):
                if (target := self._judge(event)) is not None:
                    return target
            elif isinstance(event, h11.Data):
                body += event.data
                self._check_size(len(body))
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError

    def _judge(self, response: h11.Response) -> str | None:
        """Where a redirect points to; None where the body is to be read."""
        headers = {name.lower(): value for name, value in response.headers}
        if response.status_code in _REDIRECTS and b"location" in headers:
            return headers[b"location"].decode("latin-1")
        if response.status_code != 200:
            raise _failed(f"status {response.status_code}")
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise _failed("a compressed answer")
        self._check_size(int(headers.get(b"content-length", b"0")))
        return None

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self.max_bytes:
            raise TooLarge(
                "the recording is too large",
                seen=f"{num_bytes} bytes or more",
                allowed=f"{self.max_bytes} bytes",
            )


def _failed(seen: str) -> KoujiError:
    cure = "send the recording itself, as an upload or a data URL"
    return UnreadableAudio("the recording could not be fetched", seen=seen, cure=cure)
