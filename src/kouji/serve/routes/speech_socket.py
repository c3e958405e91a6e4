"""`WS /v1/audio/speech/stream`: text in pieces, as a language model writes it, and sound out.

Messages are JSON in both directions, sound comes in binary frames between the events `started`
and `done`. What a message does is `speech_turns`' business. docs/api.md describes them all.
"""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, WebSocket
from fastapi.exceptions import RequestValidationError
from starlette.websockets import WebSocketDisconnect

from kouji.errors import KoujiError, UsageError
from kouji.serve.access import bearer_of, caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.payload import checked
from kouji.serve.problems import problem_of
from kouji.serve.routes.speech_turns import Conversation, SocketOptions

router = APIRouter()
MESSAGES = ("session", "text", "flush", "commit", "cancel", "end")
DONE, IDLE = 1000, 4408  # codes the socket is closed with; 1011 is a fault of ours


@router.websocket("/v1/audio/speech/stream")
@speaks
async def stream(socket: WebSocket, caller: Annotated[Caller, Depends(caller_of)]) -> None:
    """Speak what comes in, until the client ends or leaves."""
    caller.require("speak")
    await socket.accept()
    talk = _Socket(socket)
    try:
        await talk.run()
    except WebSocketDisconnect:
        pass
    finally:
        await talk.conversation.close()


class _Socket:
    """One connection: reads messages, keeps time, sends what the conversation emits."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket, service = socket, service_of(socket)
        self._seconds = service.settings.ws_idle_seconds
        self._sending = asyncio.Lock()
        self.conversation = Conversation(
            service, lambda: service.identify(bearer_of(socket)), self._emit
        )

    async def run(self) -> None:
        """Until `end`, idleness, or WebSocketDisconnect."""
        while True:
            try:
                message = await self._receive()
                if message is None:
                    await self._socket.close(IDLE, "idle")
                    return
                if await self._take(message):
                    await self._socket.close(DONE)
                    return
            except KoujiError as error:
                await self._emit({"type": "error", "text": None, **problem_of(error).body()})

    async def _receive(self) -> dict[str, Any] | None:
        """The next message; None when there was none for too long while nothing was spoken.

        raises: UsageError for what is no message
        """
        receiving = asyncio.ensure_future(self._socket.receive())
        try:
            while not receiving.done():
                waited = {receiving, *self.conversation.tasks}
                done, _ = await asyncio.wait(
                    waited, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED
                )
                self.conversation.check(done - {receiving})  # type: ignore[arg-type]
                if not done and not self.conversation.is_busy:
                    return None
            return _read(receiving.result())
        finally:
            receiving.cancel()

    async def _take(self, message: dict[str, Any]) -> bool:
        """Do what a message says; whether it was the last."""
        kind, talk = message.pop("type", None), self.conversation
        if kind == "session":
            await talk.configure(_options(message))
            await self._emit({"type": "session", **_shown(talk.manner.options)})
        elif kind == "text":
            talk.add(_text(message))
        elif kind == "flush":
            talk.flush()
        elif kind == "commit":
            talk.commit()
        elif kind == "cancel":
            await self._emit({"type": "cancelled", "texts": await talk.cancel()})
        elif kind == "end":
            await self._finish()
            return True
        else:
            allowed = ", ".join(MESSAGES)
            raise UsageError("unknown message type", seen=repr(kind)[:60], allowed=allowed)
        return False

    async def _finish(self) -> None:
        """Speak to the end, or until the client leaves or cancels after all."""
        finishing = asyncio.ensure_future(self.conversation.finish())
        receiving = asyncio.ensure_future(self._socket.receive())
        try:
            await asyncio.wait({finishing, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if finishing.done():
                finishing.result()
                return
            if receiving.result()["type"] == "websocket.disconnect":
                raise WebSocketDisconnect
            await self._emit({"type": "cancelled", "texts": await self.conversation.cancel()})
        finally:
            finishing.cancel()
            receiving.cancel()

    async def _emit(self, content: dict[str, Any] | bytes) -> None:
        """Send an event or sound; a client that takes nothing for too long has left."""
        try:
            async with asyncio.timeout(self._seconds), self._sending:
                if isinstance(content, bytes):
                    await self._socket.send_bytes(content)
                else:
                    await self._socket.send_text(json.dumps(content))
        except (TimeoutError, RuntimeError) as error:
            raise WebSocketDisconnect(1006) from error


def _read(message: Any) -> dict[str, Any]:
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    try:
        content = json.loads(message.get("text") or "")
    except (ValueError, RecursionError) as error:
        raise UsageError("a message is not JSON", allowed="JSON objects in text frames") from error
    if not isinstance(content, dict):
        raise UsageError("a message is no JSON object", seen=type(content).__name__)
    return content


def _text(message: dict[str, Any]) -> str:
    text = message.get("text")
    if not isinstance(text, str):
        seen = type(text).__name__
        raise UsageError("a text message needs its text", seen=seen, allowed='"text": "…"')
    return text


def _options(message: dict[str, Any]) -> SocketOptions:
    try:
        return checked(SocketOptions, json.dumps(message))
    except RequestValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{place}: {first['msg']}") from error


def _shown(options: SocketOptions) -> dict[str, Any]:
    return options.model_dump(
        include={"model", "response_format", "audio", "speed", "seed", "language"}
    )
