"""The last stage, which every path shares: chunks get timings, pauses, the notice and the mark.

Nothing that is heard leaves Kouji any other way. Knows one job's script and what a family says
about its segments; no engine, no files, and no policies but the one it is handed to ask.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kouji.notice import PAUSE_SECONDS, Notice
from kouji.speech_request import SpeechRequest, mark_id
from kouji.types import Samples, SegmentReport, Timing

if TYPE_CHECKING:
    from kouji.engine.request import EngineChunk
    from kouji.models.family import Family, PreparedSegment, PreparedText, Timeline


@dataclass(frozen=True)
class SpeechChunk:
    """A piece of a stream.

    samples:       (samples,) float32 at the model's rate
    words, phones: timings of what begins in this chunk, from the start of the stream
    segment_index: which segment of the text it belongs to
    segment:       set on the last chunk of a segment
    warnings:      on the first chunk, what was left out or changed
    is_notice:     it belongs to the audible notice beside the text
    """

    samples: Samples
    words: tuple[Timing, ...] = ()
    phones: tuple[Timing, ...] = ()
    segment_index: int = 0
    segment: SegmentReport | None = None
    warnings: tuple[str, ...] = ()
    is_notice: bool = False


@dataclass(frozen=True)
class Script:
    """What the reader's side of a job needs; no weights hang on it.

    permit:       raises ConsentError once the voice may no longer be used; asked for every chunk
    notice:       what is to be heard besides the text
    notice_words: a spoken notice, ready for the engine
    """

    request: SpeechRequest
    prepared: PreparedText
    warnings: tuple[str, ...]
    permit: Callable[[], None]
    notice: Notice
    notice_words: PreparedText | None


class Assembler:
    """Turns one job's engine events into chunks: notice, timings, pauses, the mark on it all."""

    def __init__(self, family: Family, script: Script, watermark: bool) -> None:
        self._family, self.script = family, script
        self.sample_rate = family.sample_rate
        self._stamp = _Stamp(family.sample_rate, mark_id(script.request)) if watermark else None
        self._num_samples = 0  # given out so far
        self._segment_start = 0
        self._has_begun_end = False
        self._timeline: Timeline | None = None
        self._num_segments = 0  # of the text, that have ended
        self._untold = deque(script.warnings)
        self.warnings = script.warnings

    def warn(self, warnings: Sequence[str]) -> None:
        """Tell this with the next chunk; from any thread."""
        self.warnings += tuple(warnings)
        self._untold.extend(warnings)

    def chunk(
        self,
        event: EngineChunk,
        place: str = "text",
        segments: Sequence[PreparedSegment] | None = None,
    ) -> SpeechChunk:
        """The next chunk; events come in the order of the text.

        place:  `text`, or `start` or `end` for the spoken notice
        segments: that the event's index counts, where they are not the script's
        raises: ConsentError where the consent was revoked, or ended, while the text was spoken
        """
        self.script.permit()
        if place != "text":
            is_last = event.outcome is not None and self._is_last_of_notice(event.segment_index)
            return self._notice_chunk(place, event.samples, is_last=is_last)
        segments = self.script.prepared.segments if segments is None else segments
        segment, number = segments[event.segment_index], self._num_segments
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
            self._num_segments += 1
        self._num_samples += len(samples)
        span = start / rate, end / rate
        return SpeechChunk(
            self._stamp.mark(samples) if self._stamp else samples,
            _beginning_in(timeline.words, span),
            _beginning_in(timeline.phones, span),
            number,
            report,
            self._news(),
        )

    def _news(self) -> tuple[str, ...]:
        """Warnings nobody was told yet."""
        return tuple(self._untold.popleft() for _ in range(len(self._untold)))

    def morse(self) -> Samples:
        """The notice as a rhythm."""
        from kouji.audio.morse import morse_ai

        return morse_ai(self.sample_rate)

    def morse_chunk(self, place: str, samples: Samples) -> SpeechChunk:
        """The whole rhythm as one chunk.

        raises: ConsentError as `chunk`
        """
        self.script.permit()
        return self._notice_chunk(place, samples, is_last=True)

    def _is_last_of_notice(self, segment_index: int) -> bool:
        words = self.script.notice_words
        return words is not None and segment_index == len(words.segments) - 1

    def _notice_chunk(self, place: str, samples: Samples, *, is_last: bool) -> SpeechChunk:
        """A piece of the notice, with the pause that parts it from the text."""
        pause = np.zeros(round(PAUSE_SECONDS * self.sample_rate), np.float32)
        before = pause[: len(pause) if place == "end" and not self._has_begun_end else 0]
        after = pause[: len(pause) if place == "start" and is_last else 0]
        self._has_begun_end = place == "end"
        samples = np.concatenate([before, samples, after])
        self._num_samples += len(samples)
        last = max(0, self._num_segments - 1)
        return SpeechChunk(
            self._stamp.mark(samples) if self._stamp else samples,
            segment_index=last if place == "end" else 0,
            warnings=self._news(),
            is_notice=True,
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


def _beginning_in(timings: tuple[Timing, ...], span: tuple[float, float]) -> tuple[Timing, ...]:
    return tuple(timing for timing in timings if span[0] <= timing.start < span[1])
