"""An HTTP client that costs next to nothing, for load: asyncio streams, one request a connection.

Knows just enough of HTTP/1.1 to ask a server of ours: a JSON body out, chunked or sized sound in.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """What came back; times in seconds since the request was begun.

    first_byte: of the sound; None where there was none
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    first_byte: float | None = None
    seconds: float = 0.0
    body: bytes = b""


async def post(
    port: int,
    path: str,
    values: Any,
    *,
    leave_after: float | None = None,
    key: str | None = None,
    keep: bool = True,
) -> Reply:
    """Send JSON and read the answer.

    leave_after: hang up after so many seconds, whatever has come
    keep:        keep the body; else only its length counts (`headers["length"]`)
    raises:      OSError, asyncio.IncompleteReadError
    """
    began, reply = time.perf_counter(), Reply()
    body = json.dumps(values).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    credentials = f"Authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n{credentials}\r\n"
    )
    writer.write(head.encode() + body)
    try:
        await asyncio.wait_for(_read(reader, reply, began, keep), leave_after)
    except TimeoutError:
        writer.transport.abort()
    finally:
        reply.seconds = time.perf_counter() - began
        writer.close()
    return reply


async def _read(reader: asyncio.StreamReader, reply: Reply, began: float, keep: bool) -> None:
    status_line = await reader.readline()
    reply.status = int(status_line.split()[1])
    while line := (await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        reply.headers[name.lower()] = value.strip()
    parts: list[bytes] = []
    async for data in _pieces(reader, reply.headers):
        if reply.first_byte is None and data:
            reply.first_byte = time.perf_counter() - began
        if keep:
            parts.append(data)
    reply.body = b"".join(parts)


async def _pieces(reader: asyncio.StreamReader, headers: dict[str, str]) -> Any:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        yield await reader.readexactly(int(headers.get("content-length", "0")))
        return
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readline()
