"""Callers who leave: work for them ends at once, whether it has begun to be sent or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from kouji.serve.utterance import Utterance

T = TypeVar("T")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled the moment the caller hangs up.

    Call it after the body was read: what comes then can only be the end.
    raises: ClientDisconnect
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for each in (task, gone):
            if not each.done():
                each.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await each


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Closable(Protocol):
    """Work that holds a seat until it is closed; again is harmless."""

    def close(self) -> None: ...


class ClosingResponse(StreamingResponse):
    """An answer that is sent while it is made; however the sending ends, its work is closed."""

    def __init__(
        self,
        work: Closable,
        content: AsyncIterator[bytes | str],
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """content: from the work"""
        super().__init__(content, media_type=media_type, headers=headers)
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._work.close()


class SpeechResponse(ClosingResponse):
    """An utterance as it is made."""

    def __init__(
        self,
        utterance: Utterance,
        content: AsyncIterator[bytes | str],
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """content: from the utterance, for instance `utterance.encoded("wav")`"""
        told = {**utterance.facts.headers(), **(headers or {})}
        super().__init__(utterance, content, media_type, told)
