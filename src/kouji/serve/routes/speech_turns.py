"""A conversation over one socket: texts that come in pieces, spoken sentence by sentence.

One text is a turn; turns are spoken in order, one sentence at a time, each under a seat that is
held no longer than it takes. Knows events, not frames: what is to be sent goes to `emit`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.websockets import WebSocketDisconnect

from kouji.errors import KoujiError, Overloaded, TextError, TooLarge, UsageError
from kouji.notice import settle_notice
from kouji.serve.caller import Caller
from kouji.serve.problems import problem_of
from kouji.serve.routes.speech_body import Format, SpeechOptions, call_for
from kouji.serve.routes.speech_events import timings, usage
from kouji.serve.service import Service
from kouji.serve.utterance import Facts, SoundWriter, Utterance
from kouji.text.sentences import SentenceBuffer
from kouji.types import Timing

_log = logging.getLogger(__name__)
MAX_TURNS = 8  # texts of one socket that are not done yet
Emit = Callable[[dict[str, Any] | bytes], Awaitable[None]]


class SocketOptions(SpeechOptions):
    """How the texts of a socket are spoken, until it says otherwise.

    audio: binary frames, or base64 in `audio` events
    """

    response_format: Format = "pcm"
    audio: Literal["binary", "base64"] = "binary"
    timestamp_granularities: Annotated[list[Literal["word", "phone"]], Field(max_length=2)] = Field(
        default_factory=list
    )
    ref_audio: Annotated[str | None, Field(max_length=100_000_000)] = None


@dataclass(frozen=True)
class Manner:
    """How a text is spoken.

    recording:     to speak in the voice of, if one was sent along
    needs_the_end: a notice follows the text, so it is spoken only when it is known whole
    """

    options: SocketOptions
    recording: bytes | None
    needs_the_end: bool


class Conversation:
    """The turns of one socket; `close` ends them all."""

    def __init__(self, service: Service, identify: Callable[[], Caller], emit: Emit) -> None:
        """identify: whose key it is, asked for every sentence: keys can be revoked meanwhile"""
        self.service, self.identify, self.emit = service, identify, emit
        self.manner = Manner(SocketOptions(), None, _needs_the_end(service, SocketOptions()))
        self._turns: list[Turn] = []
        self._open: Turn | None = None
        self._num_turns = 0

    @property
    def is_busy(self) -> bool:
        """Something is being spoken, or waits for it."""
        return any(turn.is_working and not turn.task.done() for turn in self._turns)

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """The turns that are not over; hand those that end to `check`."""
        return {turn.task for turn in self._turns}

    async def configure(self, options: SocketOptions) -> None:
        """Speak so from the next text on.

        raises: KoujiError for what no text could be spoken with
        """
        if self._open is not None:
            raise UsageError("a text is open", cure="commit or cancel it first")
        source = options.ref_audio
        recording = await self.service.references.read(source) if source else None
        await call_for(self.service, options, self.identify(), "", source=recording)
        needs_the_end = _needs_the_end(self.service, options)
        self.manner = Manner(options, recording, needs_the_end)

    def add(self, piece: str) -> None:
        """A piece of the open text, or of a new one.

        raises: Overloaded where no further text may begin
        """
        if self._open is None:
            self._open = self._begin()
        self._open.add(piece)

    def flush(self) -> None:
        """Speak what is there of the open text, a whole sentence or not."""
        if self._open is not None:
            self._open.flush()

    def commit(self) -> None:
        """The open text is whole."""
        if self._open is not None:
            self._open.commit()
            self._open = None

    async def cancel(self) -> list[int]:
        """Drop every text that is not done, whatever of it was spoken; their numbers."""
        turns, self._turns, self._open = self._turns, [], None
        await _end(turns)
        return [turn.number for turn in turns if turn.task.cancelled()]

    async def finish(self) -> None:
        """Wait until everything was spoken."""
        self.commit()
        while self._turns:
            done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
            self.check(done)

    async def close(self) -> None:
        """End everything and free every seat."""
        turns, self._turns = self._turns, []
        await _end(turns)

    def check(self, done: set[asyncio.Task[None]]) -> None:
        """Forget the turns that are over; raise what one of them did not tell its client."""
        self._turns = [turn for turn in self._turns if turn.task not in done]
        for task in done:
            task.result()

    def _begin(self) -> Turn:
        if self.service.is_draining:
            raise Overloaded("the server is shutting down", retry_after=5.0)
        if len(self._turns) >= MAX_TURNS:
            raise Overloaded("too many texts wait", seen=len(self._turns), retry_after=1.0)
        self._num_turns += 1
        before = self._turns[-1].task if self._turns else None
        self._turns.append(Turn(self, self._num_turns, before))
        return self._turns[-1]


class Turn:
    """One text: its sentences in order, from the first piece to done, error or cancelled."""

    def __init__(
        self, conversation: Conversation, number: int, before: asyncio.Task[None] | None
    ) -> None:
        """Begin to speak once the turn before has ended."""
        self.number, self.is_working = number, False
        self._conversation, self._manner = conversation, conversation.manner
        self._buffer, self._num_characters = SentenceBuffer(), 0
        self._sentences: asyncio.Queue[str | KoujiError | None] = asyncio.Queue()
        self._whole = ""
        self._has_failed = False
        self._sound: _Sound | None = None
        self._warnings: list[str] = []
        self.task = asyncio.create_task(self._run(before))

    def add(self, piece: str) -> None:
        """A piece of the text; what follows an error is dropped."""
        if self._has_failed:
            return
        self._num_characters += len(piece)
        most = self._conversation.service.settings.max_text_characters
        if self._num_characters > most:
            self._has_failed = True
            seen, allowed = f"more than {most} characters", f"{most} characters"
            self._put(TooLarge("the text is too long", seen=seen, allowed=allowed))
            return
        for sentence in self._buffer.add(piece):
            self._put(sentence)

    def flush(self) -> None:
        """Take what is there for a sentence."""
        if (rest := self._buffer.flush()) and not self._has_failed:
            self._put(rest)

    def commit(self) -> None:
        """No piece follows."""
        self.flush()
        if self._whole:
            self._sentences.put_nowait(self._whole)
        self._put(None)

    def _put(self, sentence: str | KoujiError | None) -> None:
        if self._manner.needs_the_end and isinstance(sentence, str):
            self._whole += sentence
            return
        self.is_working = True
        self._sentences.put_nowait(sentence)

    async def _run(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})
        try:
            while (sentence := await self._next()) is not None:
                await self._speak(sentence)
            await self._done()
        except KoujiError as error:
            self._has_failed = True
            await self._tell("error", **problem_of(error).body())

    async def _next(self) -> str | None:
        self.is_working = not self._sentences.empty()
        found = await self._sentences.get()
        self.is_working = True
        if isinstance(found, KoujiError):
            raise found
        return found

    async def _speak(self, sentence: str) -> None:
        try:
            utterance = await self._begin(sentence)
        except TextError as error:
            if type(error) is not TextError:
                raise
            self._warnings.append(error.what)  # nothing in it has a sound; the rest may
            return
        try:
            if self._sound is None:
                self._sound = _Sound(utterance, self._manner.options)
                await self._tell("started", **self._started(utterance.facts))
            await self._send(utterance, self._sound)
        finally:
            utterance.close()

    async def _begin(self, sentence: str) -> Utterance:
        """The sentence as a part of the one work that the turn is."""
        service, caller = self._conversation.service, self._conversation.identify()
        manner = self._manner
        call = await call_for(service, manner.options, caller, sentence, source=manner.recording)
        part = "whole" if manner.needs_the_end else "middle" if self._sound else "first"
        assert call.options is not None
        call = replace(call, options=replace(call.options, part=part))
        if self._sound is not None:
            call = replace(call, produce_id=self._sound.produce_id)
        return await service.speak(call, caller)

    async def _send(self, utterance: Utterance, sound: _Sound) -> None:
        options, offset = self._manner.options, sound.writer.seconds
        self._warnings += utterance.facts.warnings
        async with aclosing(utterance.chunks()) as chunks:  # type: ignore[type-var]
            async for chunk in chunks:
                await self._send_sound(await sound.writer.write(chunk.samples))
                words, phones = _later(chunk.words, offset), _later(chunk.phones, offset)
                marks = timings(options.timestamp_granularities, words, phones)
                if any(marks.values()):
                    await self._tell("words", **marks)
                self._warnings += chunk.segment.warnings if chunk.segment else ()

    async def _done(self) -> None:
        seconds = 0.0
        if self._sound is not None:
            await self._send_sound(await self._sound.writer.close())
            seconds = self._sound.writer.seconds
        await self._tell(
            "done",
            duration=round(seconds, 4),
            seed=self._manner.options.seed,
            warnings=list(dict.fromkeys(self._warnings)),
            usage=usage(self._num_characters, seconds),
        )

    def _started(self, facts: Facts) -> dict[str, Any]:
        return {
            "model": facts.model,
            "voice": facts.voice,
            "sample_rate": facts.sample_rate,
            "format": self._manner.options.response_format,
            "ai_generated": True,
            "watermark": f"{facts.produce_id:08x}",
        }

    async def _send_sound(self, data: bytes) -> None:
        if not data:
            return
        if self._manner.options.audio == "binary":
            await self._conversation.emit(data)
        else:
            await self._tell("audio", audio=base64.b64encode(data).decode())

    async def _tell(self, kind: str, **facts: Any) -> None:
        await self._conversation.emit({"type": kind, "text": self.number, **facts})


class _Sound:
    """The one stream of sound that the sentences of a turn make together."""

    def __init__(self, first: Utterance, options: SocketOptions) -> None:
        self.produce_id = first.facts.produce_id
        self.writer = SoundWriter(first, options.response_format)


async def _end(turns: list[Turn]) -> None:
    for turn in turns:
        turn.task.cancel()
    if not turns:
        return
    await asyncio.wait({turn.task for turn in turns})
    for turn in turns:
        error = None if turn.task.cancelled() else turn.task.exception()
        if error is not None and not isinstance(error, WebSocketDisconnect):
            _log.error("a text of a socket failed", exc_info=error)


def _needs_the_end(service: Service, options: SocketOptions) -> bool:
    wanted = settle_notice(service.settings, options.disclosure, options.notice)
    return "end" in wanted.places


def _later(timings: tuple[Timing, ...], seconds: float) -> list[Timing]:
    return [replace(each, start=each.start + seconds, end=each.end + seconds) for each in timings]
