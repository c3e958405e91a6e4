"""Admitted requests to sound: what the engine makes of text and notice, as one stream of chunks.

Whoever calls this has checked the request, asked the consent policy and written the audit
line: `kouji.api` does. Every chunk passes `kouji.last_stage`. Knows an engine and a family; no
files and no policies.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from kouji.errors import EngineBusy, KoujiError
from kouji.last_stage import Assembler, Script, SpeechChunk
from kouji.models.stages import RenderOptions, SpeechModel
from kouji.speech_request import SamplingWishes, SpeakOptions, SpeechRequest, mark_id
from kouji.text.style import Style
from kouji.types import Audio, Samples, Speech

if TYPE_CHECKING:
    from kouji.audio.provenance import ManifestSigner
    from kouji.engine.engine import Engine, Ticket
    from kouji.engine.request import EngineRequest
    from kouji.models.family import Family, PreparedSegment

__all__ = [
    "Job",
    "SamplingWishes",
    "Script",
    "SpeakOptions",
    "Speaker",
    "SpeechChunk",
    "SpeechRequest",
    "SpeechStream",
    "mark_id",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A request whose every input was found good; not kept once the engine has it.

    held: closes what the job keeps in memory: its voice's weights
    is_conversion: what is heard was heard before, and nothing is decoded; a spoken notice is
    """

    script: Script
    style: Style
    model: SpeechModel
    conditioning: Any
    guard: bool
    held: ExitStack
    is_conversion: bool = False


class Speaker:
    """Speaks jobs of one family on one engine."""

    def __init__(
        self, family: Family, engine: Engine, signer: ManifestSigner | None = None
    ) -> None:
        """signer: goes with every whole speech, for the files that are made of it."""
        self._family, self._engine, self._signer = family, engine, signer

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
        assembler = self.assembler(job.script, watermark)
        places = [place for place in ("start", "text", "end") if _is_heard(job.script, place)]
        spoken = [place for place in places if place == "text" or job.script.notice_words]
        release = _LastOut(job.held.close, len(spoken))
        stretches: list[Stretch] = []
        try:
            for place in places:
                source: Ticket | tuple[Samples] = (assembler.morse(),)
                if place in spoken:
                    source = self.submit(job, place, is_streamed, release)
                stretches.append(Stretch(place, source))
        except BaseException:
            release.disarm()
            for stretch in stretches:
                stretch.cancel()
            raise
        return SpeechStream(Stretches(stretches), assembler, self._signer)

    def submit(self, job: Job, place: str, is_streamed: bool, on_end: Callable[[], None]) -> Ticket:
        """Hand the text of a job, or its notice, to the engine; raises as `stream`."""
        return self._engine.submit(self._request(job, place, is_streamed), on_end=on_end)

    def assembler(self, script: Script, watermark: bool) -> Assembler:
        """The last stage of one stream."""
        return Assembler(self._family, script, watermark)

    def join(self, stretches: AnyStretches, assembler: Assembler) -> SpeechStream:
        """One stream of what is heard one after the other."""
        return SpeechStream(stretches, assembler, self._signer)

    def _request(self, job: Job, place: str, is_streamed: bool) -> EngineRequest:
        """The text or its notice: a request of its own, so that the text's is as ever."""
        from kouji.engine.guard import GuardOptions
        from kouji.engine.request import EngineRequest

        request, words = job.script.request, job.script.notice_words
        options = request.options
        is_text = place == "text" or words is None
        prepared, style = (job.script.prepared, job.style) if is_text else (words, Style())
        wishes = options.sampling if is_text else SamplingWishes()
        assert prepared is not None
        is_decoded = not (is_text and job.is_conversion)
        return EngineRequest(
            model=job.model if is_decoded else SpeechModel(job.model.renderer),
            segments=tuple(segment.payload for segment in prepared.segments),
            voice=job.conditioning,
            sampling=wishes.over(self._family.sampling),
            render=RenderOptions(is_streamed, style.rate, style),
            guard=GuardOptions(is_on=job.guard),
            seed=request.seed,
            client=options.client,
            deadline_seconds=options.deadline_seconds,
            is_background=options.is_background,
            is_exact=options.is_exact,
        )


def _is_heard(script: Script, place: str) -> bool:
    return place == "text" or place in script.notice.places


class _LastOut:
    """Closes what a job holds when the last of its requests has ended, in whichever thread."""

    def __init__(self, close: Callable[[], None], num_requests: int) -> None:
        self._close, self._num_left = close, num_requests
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self._num_left -= 1
            is_last = self._num_left == 0
        if is_last:
            self._close()

    def disarm(self) -> None:
        """Not all requests were taken: the job still holds what it held."""
        with self._lock:
            self._num_left = -1


class Stretch(NamedTuple):
    """What is heard one after the other: `start` and `end` are the notice, `text` is the text.

    segments: of its text, where they are not those of the stream's script
    """

    place: str
    source: Ticket | tuple[Samples]
    segments: Sequence[PreparedSegment] | None = None

    def cancel(self) -> None:
        """End what the engine does of it."""
        if not isinstance(self.source, tuple):
            self.source.cancel()


class AnyStretches(Protocol):
    """Stretches in order, for one reader; `cancel` ends them all, from any thread."""

    def __iter__(self) -> Iterator[Stretch]: ...
    def __aiter__(self) -> AsyncIterator[Stretch]: ...
    def cancel(self) -> None: ...


class Stretches:
    """Those of a text that is known whole."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = stretches

    def __iter__(self) -> Iterator[Stretch]:
        return iter(self._stretches)

    async def __aiter__(self) -> AsyncIterator[Stretch]:
        for stretch in self._stretches:
            yield stretch

    def cancel(self) -> None:
        """End what is not done; again is harmless."""
        for stretch in self._stretches:
            stretch.cancel()


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

    def __init__(
        self,
        stretches: AnyStretches,
        assembler: Assembler,
        signer: ManifestSigner | None = None,
    ) -> None:
        self._stretches, self._assembler, self._signer = stretches, assembler, signer
        self._chunks = _chunks(stretches, assembler)
        self.sample_rate = assembler.sample_rate
        self.produce_id = mark_id(assembler.script.request)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out or changed, as far as is known."""
        return self._assembler.warnings

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
            self._signer,
        )

    def __next__(self) -> SpeechChunk:
        try:
            return next(self._chunks)
        except BaseException:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        try:
            async for place, source, segments in self._stretches:
                if isinstance(source, tuple):
                    yield self._assembler.morse_chunk(place, *source)
                    continue
                async for event in source:
                    yield self._assembler.chunk(event, place, segments)
        finally:
            self.close()

    def close(self) -> None:
        """Cancel what is not done, the voice's weights are let go of; may be called again."""
        self._stretches.cancel()

    def __enter__(self) -> SpeechStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _chunks(stretches: AnyStretches, assembler: Assembler) -> Iterator[SpeechChunk]:
    """One after the other; does not hold the stream, which ends its work when it is let go of."""
    for place, source, segments in stretches:
        if isinstance(source, tuple):
            yield assembler.morse_chunk(place, *source)
        else:
            for event in source:
                yield assembler.chunk(event, place, segments)


def _labels(produce_id: int) -> dict[str, str]:
    from kouji.audio.labels import label_tags

    return label_tags(f"{produce_id:08x}")
