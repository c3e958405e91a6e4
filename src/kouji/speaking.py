"""Turns admitted requests into sound: plans, batches, chunks, timings, and the mark on it all.

Whoever calls this has checked the request, asked the consent policy and written the audit
line: `kouji.api` does. Knows a synthesiser, no files and no policies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from kouji.text.style import Style
from kouji.types import Audio, Language, Samples, SegmentReport, Speech, Timing
from kouji.voices import Voice

if TYPE_CHECKING:
    from torch import Tensor

    from kouji.models.mini.plan import Plan
    from kouji.models.mini.synthesiser import MiniSynthesiser
    from kouji.text.units import Analysis, Segment

_BATCH_ROWS = 8


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
class SpeechRequest:
    """One text to speak among many; see `TTS.speak`."""

    text: str
    voice: Voice
    style: str | Style | None = None
    seed: int = 0
    language: Language | None = None
    produce_id: int | None = None


@dataclass(frozen=True)
class Job:
    """A request whose every input was found good."""

    request: SpeechRequest
    analysis: Analysis
    style: Style
    speaker: Tensor
    warnings: tuple[str, ...] = field(default=())


class Speaker:
    """Speaks jobs with one synthesiser."""

    def __init__(self, synthesiser: MiniSynthesiser) -> None:
        self._synthesiser = synthesiser
        self.sample_rate = synthesiser.sample_rate

    def speak(self, jobs: dict[int, Job], watermark: bool) -> dict[int, Speech]:
        """Speak whole jobs together, by the keys they were given."""
        plans = {index: self._plans(job) for index, job in jobs.items()}
        waves = self._render_all(jobs, plans)
        return {
            index: self._finish(job, plans[index], waves[index], watermark)
            for index, job in jobs.items()
        }

    def stream(self, job: Job, watermark: bool) -> Iterator[SpeechChunk]:
        """Speak one job in chunks; joined they equal the audio of `speak`."""
        from kouji.models.mini.synthesiser import phone_timings, word_timings

        stamp = _Stamp(self.sample_rate, mark_id(job.request)) if watermark else None
        segments = job.analysis.segments
        done = 0  # samples before this segment
        warnings = job.warnings
        for index, segment in enumerate(segments):
            plan = self._plan(job, index)
            offset = done / self.sample_rate
            words = word_timings(plan, segment, offset)
            phones = phone_timings(plan, offset)
            total = done + plan.num_samples
            for samples in self._synthesiser.stream(plan, _segment_seed(job.request.seed, index)):
                span = done / self.sample_rate, (done + len(samples)) / self.sample_rate
                done += len(samples)
                is_end = done == total
                report = _report(segment, plan, offset, span[1]) if is_end else None
                yield SpeechChunk(
                    stamp.mark(samples) if stamp else samples,
                    _beginning_in(words, span),
                    _beginning_in(phones, span),
                    index,
                    report,
                    warnings,
                )
                warnings = ()

    def _plan(self, job: Job, index: int) -> Plan:
        segments = job.analysis.segments
        is_last = index + 1 == len(segments)
        return self._synthesiser.plan(segments[index], job.speaker, job.style, is_last=is_last)

    def _plans(self, job: Job) -> list[Plan]:
        return [self._plan(job, index) for index in range(len(job.analysis.segments))]

    def _render_all(
        self, jobs: dict[int, Job], plans: dict[int, list[Plan]]
    ) -> dict[int, list[Samples]]:
        """Render all segments of all jobs, rows of like length together."""
        rows = [
            (plan.num_frames, index, number)
            for index, own in plans.items()
            for number, plan in enumerate(own)
        ]
        rows.sort(reverse=True)
        waves: dict[int, list[Samples]] = {
            index: [np.zeros(0, np.float32)] * len(own) for index, own in plans.items()
        }
        size = _BATCH_ROWS if len(jobs) > 1 else 1
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            made = self._synthesiser.render(
                [plans[index][number] for _, index, number in batch],
                [_segment_seed(jobs[i].request.seed, number) for _, i, number in batch],
            )
            for (_, index, number), wave in zip(batch, made, strict=True):
                waves[index][number] = wave
        return waves

    def _finish(self, job: Job, plans: list[Plan], waves: list[Samples], watermark: bool) -> Speech:
        from kouji.models.mini.synthesiser import phone_timings, word_timings

        words: list[Timing] = []
        phones: list[Timing] = []
        reports: list[SegmentReport] = []
        offset = 0.0
        for segment, plan, wave in zip(job.analysis.segments, plans, waves, strict=True):
            end = offset + len(wave) / self.sample_rate
            words += word_timings(plan, segment, offset)
            phones += phone_timings(plan, offset)
            reports.append(_report(segment, plan, offset, end))
            offset = end
        samples = np.concatenate(waves)
        mark = mark_id(job.request)
        if watermark:
            samples = _Stamp(self.sample_rate, mark).mark(samples)
        return Speech(
            Audio(samples, self.sample_rate),
            tuple(words),
            tuple(phones),
            tuple(reports),
            job.warnings,
            job.request.seed,
            _labels(mark),
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


def _segment_seed(seed: int, index: int) -> int:
    """A seed of its own for every segment, so that their noise differs."""
    return (seed * 1_000_003 + index * 7_919) % (1 << 62)


def _report(segment: Segment, plan: Plan, start: float, end: float) -> SegmentReport:
    return SegmentReport(segment.text, start, end, 0, plan.sequence.warnings)


def _beginning_in(timings: tuple[Timing, ...], span: tuple[float, float]) -> tuple[Timing, ...]:
    return tuple(timing for timing in timings if span[0] <= timing.start < span[1])
