"""Admitted requests to sound: the engine's events become chunks with timings, marked and paused.

Whoever calls this has checked the request, asked the consent policy and written the audit
line: `kouji.api` does. Knows an engine and what a family says about its segments; no files
and no policies.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kouji.errors import EngineBusy, KoujiError
from kouji.models.stages import RenderOptions, SamplingOptions
from kouji.text.style import Style
from kouji.types import Audio, Samples, SegmentReport, Speech, Timing
from kouji.voices import Voice

if TYPE_CHECKING:
    from kouji.engine.engine import Engine, Ticket
    from kouji.engine.request import EngineChunk, EngineRequest
    from kouji.models.family import Family, PreparedText, Timeline
    from kouji.models.stages import SpeechModel


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
    """

    sampling: SamplingWishes = field(default_factory=SamplingWishes)
    guard: bool | None = None
    client: str = ""
    deadline_seconds: float | None = None


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
class Job:
    """A request whose every input was found good.

    held: closes what the job keeps in memory: its voice's weights
    """

    request: SpeechRequest
    prepared: PreparedText
    style: Style
    model: SpeechModel
    conditioning: Any
    guard: bool
    warnings: tuple[str, ...]
    held: ExitStack


class Speaker:
    """Speaks jobs of one family on one engine."""

    def __init__(self, family: Family, engine: Engine) -> None:
        self._family, self._engine = family, engine

    def speak(self, jobs: dict[int, Job], watermark: bool) -> dict[int, Speech | KoujiError]:
        """Speak whole jobs together, by the keys they were given; each succeeds or fails alone.

        More jobs than the engine takes at once wait here for their turn.
        """
        outcomes: dict[int, Speech | KoujiError] = {}
        waiting, running = deque(jobs.items()), deque[tuple[int, SpeechStream]]()
        with ExitStack() as stack:
            for job in jobs.values():
                stack.callback(job.held.close)
            while waiting or running:
                if waiting:
                    index, job = waiting[0]
                    try:
                        stream = self.stream(job, watermark, is_streamed=False)
                        running.append((index, stack.enter_context(stream)))
                    except KoujiError as error:
                        outcomes[index] = error
                        is_over = not isinstance(error, EngineBusy) or not running
                    else:
                        is_over = True
                    if is_over:
                        waiting.popleft()
                        continue
                index, stream = running.popleft()
                outcomes[index] = self._read(jobs[index], stream)
        return outcomes

    def _read(self, job: Job, stream: SpeechStream) -> Speech | KoujiError:
        try:
            return self._joined(job, list(stream))
        except KoujiError as error:
            return error

    def stream(self, job: Job, watermark: bool, *, is_streamed: bool = True) -> SpeechStream:
        """Hand a job to the engine; the stream lets go of what the job holds.

        raises: EngineBusy, EngineFailed; then the job still holds it
        """
        ticket = self._engine.submit(self._request(job, is_streamed))
        return SpeechStream(ticket, Assembler(self._family, job, watermark), job.held)

    def _request(self, job: Job, is_streamed: bool) -> EngineRequest:
        from kouji.engine.guard import GuardOptions
        from kouji.engine.request import MAX_SEED, EngineRequest

        options = job.request.options
        return EngineRequest(
            model=job.model,
            segments=tuple(segment.payload for segment in job.prepared.segments),
            voice=job.conditioning,
            sampling=options.sampling.over(self._family.sampling),
            render=RenderOptions(is_streamed, job.style.rate, job.style),
            guard=GuardOptions(is_on=job.guard),
            seed=job.request.seed % (MAX_SEED + 1),
            client=options.client,
            deadline_seconds=options.deadline_seconds,
        )

    def _joined(self, job: Job, chunks: Sequence[SpeechChunk]) -> Speech:
        return Speech(
            Audio(np.concatenate([c.samples for c in chunks]), self._family.sample_rate),
            tuple(word for chunk in chunks for word in chunk.words),
            tuple(phone for chunk in chunks for phone in chunk.phones),
            tuple(chunk.segment for chunk in chunks if chunk.segment),
            job.warnings,
            job.request.seed,
            _labels(mark_id(job.request)),
        )


class SpeechStream(Iterator[SpeechChunk]):
    """The chunks of one job; closing it, or letting go of it, ends the job at the next step."""

    def __init__(self, ticket: Ticket, assembler: Assembler, held: ExitStack) -> None:
        self._ticket, self._assembler, self._held = ticket, assembler, held
        self._events = iter(ticket)

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
        """Cancel what is not done and let go of the voice's weights; may be called again."""
        self._ticket.cancel()
        self._held.close()

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class Assembler:
    """Turns one request's engine events into chunks: timings, pauses, and the mark on it all."""

    def __init__(self, family: Family, job: Job, watermark: bool) -> None:
        self._family, self._job = family, job
        self._stamp = _Stamp(family.sample_rate, mark_id(job.request)) if watermark else None
        self._num_samples = 0  # given out so far
        self._segment_start = 0
        self._timeline: Timeline | None = None
        self._warnings = job.warnings

    def chunk(self, event: EngineChunk) -> SpeechChunk:
        """The next chunk; events come in the order of the text."""
        segment = self._job.prepared.segments[event.segment_index]
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
