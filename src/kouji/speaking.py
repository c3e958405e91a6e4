"""Admitted requests to sound: the engine's events become chunks with timings, marked and paused.

Whoever calls this has checked the request, asked the consent policy and written the audit
line: `kouji.api` does. Knows an engine and what a family says about its segments; no files
and no policies.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from kouji.errors import EngineBusy, KoujiError
from kouji.models.family import TextOptions
from kouji.models.stages import RenderOptions, SamplingOptions
from kouji.text.style import Style
from kouji.types import Audio, Samples, SegmentReport, Speech, Timing
from kouji.voices import Voice

if TYPE_CHECKING:
    from kouji.engine.engine import Engine, Ticket
    from kouji.engine.request import EngineChunk, EngineRequest
    from kouji.models.family import Family, PreparedText, Timeline
    from kouji.models.stages import SpeechModel


T = TypeVar("T")


@dataclass(frozen=True)
class SpeechChunk:
    """A piece of a stream.

    samples:       (samples,) float32 at the model's rate
    words, phones: timings of what begins in this chunk, from the start of the stream
    segment_index: which segment of the text it belongs to
    segment:       set on the last chunk of a segment
    warnings:      on the first chunk, what was left out or changed
    """

    samples: Samples
    words: tuple[Timing, ...] = ()
    phones: tuple[Timing, ...] = ()
    segment_index: int = 0
    segment: SegmentReport | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SamplingWishes:
    """How tokens are drawn, see `SamplingOptions`; None leaves a figure to the family."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None

    def over(self, base: SamplingOptions) -> SamplingOptions:
        """`base` with what was wished."""
        wished = {name: value for name, value in vars(self).items() if value is not None}
        return replace(base, **wished)


@dataclass(frozen=True)
class SpeakOptions:
    """What a caller may ask besides text, voice and style.

    sampling:         how tokens are drawn, by families that have tokens
    guard:            watch for loops, omissions and silence and decode anew; None leaves it to
                      the operator
    client:           who is asking; the engine is fair between clients
    deadline_seconds: the request fails when it is not done by then
    is_background:    nobody waits for it: whatever somebody waits for goes first
    text:             how it is cut into segments, by families that offer a choice
    """

    sampling: SamplingWishes = field(default_factory=SamplingWishes)
    guard: bool | None = None
    client: str = ""
    deadline_seconds: float | None = None
    is_background: bool = False
    text: TextOptions = field(default_factory=TextOptions)


@dataclass(frozen=True)
class SpeechRequest:
    """One text to speak among many; see `TTS.speak`."""

    text: str
    voice: Voice
    style: str | Style | None = None
    seed: int = 0
    language: str | None = None
    produce_id: int | None = None
    options: SpeakOptions = field(default_factory=SpeakOptions)


@dataclass(frozen=True)
class Script:
    """What the reader's side of a job needs; no weights hang on it.

    permit: raises ConsentError once the voice may no longer be used; asked for every chunk
    """

    request: SpeechRequest
    prepared: PreparedText
    warnings: tuple[str, ...]
    permit: Callable[[], None]


@dataclass(frozen=True)
class Job:
    """A request whose every input was found good; not kept once the engine has it.

    held: closes what the job keeps in memory: its voice's weights
    """

    script: Script
    style: Style
    model: SpeechModel
    conditioning: Any
    guard: bool
    held: ExitStack


class Speaker:
    """Speaks jobs of one family on one engine."""

    def __init__(self, family: Family, engine: Engine) -> None:
        self._family, self._engine = family, engine

    def check(self, options: SpeakOptions) -> None:
        """Refuse options no text and voice could be spoken with.

        raises: UsageError
        """
        from kouji.engine.request import check_wishes

        check_wishes(options.sampling.over(self._family.sampling), options.deadline_seconds)

    def speak(
        self, admit: Sequence[Callable[[], Job]], watermark: bool
    ) -> list[Speech | KoujiError]:
        """Speak whole jobs together; each succeeds or fails alone.

        admit: makes each job when its turn has come, so that only jobs under way are in memory

        More than the engine takes at once, or than there is memory for weights, wait here.
        """
        outcomes: dict[int, Speech | KoujiError] = {}
        running: deque[_Running] = deque()

        def wait_for_room() -> bool:
            if not running:
                return False
            first = running.popleft()
            outcomes[first.place] = self._read(first)
            return True

        try:
            for index, make in enumerate(admit):
                try:
                    running.append(self._begin(index, make, watermark, wait_for_room))
                except KoujiError as error:
                    outcomes[index] = error.with_traceback(None)
            while wait_for_room():
                pass
        finally:
            for each in running:
                each.stream.close()
        return [outcomes[index] for index in range(len(admit))]

    def _begin(
        self,
        place: int,
        make: Callable[[], Job],
        watermark: bool,
        wait_for_room: Callable[[], bool],
    ) -> _Running:
        job = _patiently(make, wait_for_room)
        hand_in = partial(self.stream, job, watermark, is_streamed=False)
        try:
            return _Running(place, job.script, _patiently(hand_in, wait_for_room))
        except BaseException:
            job.held.close()
            raise

    def _read(self, running: _Running) -> Speech | KoujiError:
        try:
            return running.stream.join(list(running.stream))
        except KoujiError as error:
            # Without its traceback: the caller may keep the error, and with it every frame.
            return error.with_traceback(None)

    def stream(self, job: Job, watermark: bool, *, is_streamed: bool = True) -> SpeechStream:
        """Hand a job to the engine, which lets go of what the job holds when it ends the job.

        raises: EngineBusy, EngineFailed, UsageError; then the job still holds it
        """
        assembler = Assembler(self._family, job.script, watermark)
        ticket = self._engine.submit(self._request(job, is_streamed), on_end=job.held.close)
        return SpeechStream(ticket, assembler)

    def _request(self, job: Job, is_streamed: bool) -> EngineRequest:
        from kouji.engine.guard import GuardOptions
        from kouji.engine.request import EngineRequest

        request = job.script.request
        options = request.options
        return EngineRequest(
            model=job.model,
            segments=tuple(segment.payload for segment in job.script.prepared.segments),
            voice=job.conditioning,
            sampling=options.sampling.over(self._family.sampling),
            render=RenderOptions(is_streamed, job.style.rate, job.style),
            guard=GuardOptions(is_on=job.guard),
            seed=request.seed,
            client=options.client,
            deadline_seconds=options.deadline_seconds,
            is_background=options.is_background,
        )


class _Running(NamedTuple):
    """A job under way, at its place among others."""

    place: int
    script: Script
    stream: SpeechStream


def _patiently(function: Callable[[], T], wait_for_room: Callable[[], bool]) -> T:
    """Its result; called again after EngineBusy, as long as waiting may have made room."""
    while True:
        try:
            return function()
        except EngineBusy:
            if not wait_for_room():
                raise


class SpeechStream(Iterator[SpeechChunk]):
    """The chunks of one job; closing it, or letting go of it, ends the job at the next step."""

    def __init__(self, ticket: Ticket, assembler: Assembler) -> None:
        self._ticket, self._assembler = ticket, assembler
        self._events = iter(ticket)
        self.sample_rate = assembler.sample_rate
        self.warnings = assembler.script.warnings
        self.produce_id = mark_id(assembler.script.request)

    def join(self, chunks: Sequence[SpeechChunk]) -> Speech:
        """All chunks of this stream as one speech."""
        return Speech(
            Audio(
                np.concatenate([np.zeros(0, np.float32), *(chunk.samples for chunk in chunks)]),
                self.sample_rate,
            ),
            tuple(word for chunk in chunks for word in chunk.words),
            tuple(phone for chunk in chunks for phone in chunk.phones),
            tuple(chunk.segment for chunk in chunks if chunk.segment),
            self.warnings,
            self._assembler.script.request.seed,
            _labels(self.produce_id),
        )

    def __next__(self) -> SpeechChunk:
        try:
            return self._assembler.chunk(next(self._events))
        except BaseException:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        try:
            async for event in self._ticket:
                yield self._assembler.chunk(event)
        finally:
            self.close()

    def close(self) -> None:
        """Cancel what is not done, the voice's weights are let go of; may be called again."""
        self._ticket.cancel()

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Assembler:
    """Turns one request's engine events into chunks: timings, pauses, and the mark on it all."""

    def __init__(self, family: Family, script: Script, watermark: bool) -> None:
        self._family, self.script = family, script
        self.sample_rate = family.sample_rate
        self._stamp = _Stamp(family.sample_rate, mark_id(script.request)) if watermark else None
        self._num_samples = 0  # given out so far
        self._segment_start = 0
        self._timeline: Timeline | None = None
        self._warnings = script.warnings

    def chunk(self, event: EngineChunk) -> SpeechChunk:
        """The next chunk; events come in the order of the text.

        raises: ConsentError where the consent was revoked, or ended, while the text was spoken
        """
        self.script.permit()
        segment = self.script.prepared.segments[event.segment_index]
        rate = self._family.sample_rate
        if self._timeline is None:
            self._segment_start = self._num_samples
            offset = self._segment_start / rate
            self._timeline = self._family.timeline(segment, event.info, offset)
        samples, report = event.samples, None
        start, end = self._num_samples, self._num_samples + len(samples)
        timeline = self._timeline
        if event.outcome is not None:
            report = SegmentReport(
                segment.text,
                self._segment_start / rate,
                end / rate,
                event.outcome.retries,
                (*self._family.warnings(event.info), *event.outcome.warnings),
            )
            pause = np.zeros(round(segment.pause_seconds * rate), np.float32)
            samples = np.concatenate([samples, pause])
            self._timeline = None
        self._num_samples += len(samples)
        warnings, self._warnings = self._warnings, ()
        span = start / rate, end / rate
        return SpeechChunk(
            self._stamp.mark(samples) if self._stamp else samples,
            _beginning_in(timeline.words, span),
            _beginning_in(timeline.phones, span),
            event.segment_index,
            report,
            warnings,
        )


class _Stamp:
    """The last stage of one request: the watermark, chunk after chunk."""

    def __init__(self, sample_rate: int, produce_id: int) -> None:
        from kouji.audio.watermark import EmbedState

        self._state = EmbedState(sample_rate, produce_id)

    def mark(self, samples: Samples) -> Samples:
        """The same samples, marked."""
        from kouji.audio.watermark import embed

        return embed(samples, self._state.sample_rate, self._state.payload, self._state)


def _labels(produce_id: int) -> dict[str, str]:
    from kouji.audio.labels import label_tags

    return label_tags(f"{produce_id:08x}")


def mark_id(request: SpeechRequest) -> int:
    """32 bits that name a request in watermark, label and audit line; they reveal no text."""
    if request.produce_id is not None:
        return request.produce_id
    content = repr((request.text, request.voice.content_hash, request.style, request.seed))
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big")


def _beginning_in(timings: tuple[Timing, ...], span: tuple[float, float]) -> tuple[Timing, ...]:
    return tuple(timing for timing in timings if span[0] <= timing.start < span[1])
