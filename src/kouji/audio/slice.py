"""Cut long recordings into utterances at silences, with timestamps.

Knows spans of speech and levels. No speech is lost: every span of the VAD lies in the slices, and
a slice cuts inside a span only where the span alone is longer than allowed, at its quietest point.
Does not know words; a cut is where nobody speaks, not where a sentence ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from kouji.audio.quality import choose_best_part
from kouji.audio.vad import Span, frame_levels_db, speech_spans
from kouji.errors import ConfigError
from kouji.types import Audio


@dataclass(frozen=True)
class SliceConfig:
    """All in seconds.

    min_pause: silence at which a recording may be cut; shorter ones only to keep to max_seconds
    padding:   silence kept around the speech of a slice, where there is any
    """

    min_seconds: float = 2.0
    max_seconds: float = 12.0
    min_pause: float = 0.3
    padding: float = 0.1

    def __post_init__(self) -> None:
        room = self.max_seconds - 2 * self.padding
        if not (0 < self.min_seconds <= room / 2 and self.min_pause >= 0 and self.padding >= 0):
            raise ConfigError(
                "slice limits contradict each other",
                seen=self,
                allowed="0 < min_seconds <= (max_seconds - 2 * padding) / 2",
            )


@dataclass(frozen=True)
class Slice:
    """A piece of a recording: `start` and `end` in seconds from its beginning."""

    start: float
    end: float
    audio: Audio


def slice_recording(audio: Audio, config: SliceConfig | None = None) -> list[Slice]:
    """Cut into utterances of min_seconds to max_seconds, in order and without overlap.

    A slice is shorter than min_seconds only where its speech stands alone: the silence around it
    is longer than a slice may hold, or its neighbours have no room for it.
    """
    config = config or SliceConfig()
    room = config.max_seconds - 2 * config.padding
    spans = split_long_spans(audio, speech_spans(audio), room)
    if not spans:
        return []
    groups = _absorb_short(_group(spans, config, room), config, room)
    return [_cut(audio, start, end) for start, end in _pad(groups, audio.duration, config)]


def find_best_part(
    audio: Audio, seconds: tuple[float, float], padding: float = 0.1
) -> tuple[float, float]:
    """The part of a longer recording with the most clear speech, from pause to pause.

    seconds: shortest and longest part; `audio` is at least as long as the longest
    padding: seconds of pause kept around it, where there are any
    returns: start and end in seconds
    """
    spans = split_long_spans(audio, speech_spans(audio), seconds[1] - 2 * padding)
    start, end = choose_best_part(audio, spans, seconds, padding)
    missing = seconds[0] - (end - start)
    if missing > 0:  # little speech: some silence around it makes up the length
        start = min(max(0.0, start - missing / 2), audio.duration - seconds[0])
        end = start + seconds[0]
    return start, end


def cut_at_pauses(audio: Audio, max_seconds: float, step_seconds: float = 0.01) -> list[Audio]:
    """Cut a recording into touching pieces no longer than `max_seconds`: nothing is left out.

    Each cut lies in the middle of the longest pause in the second half of what fits; where nobody
    pauses, at the quietest point there. No piece is shorter than a quarter of what fits.
    step_seconds: cuts lie on multiples of it
    """
    if audio.duration <= max_seconds:
        return [audio]
    spans = split_long_spans(audio, speech_spans(audio), max_seconds / 4)
    gaps = [(a[1], b[0]) for a, b in pairwise([(0.0, 0.0), *spans, (audio.duration,) * 2])]
    edges, start = [0], 0.0
    while audio.duration - start > max_seconds:
        latest = min(start + max_seconds, audio.duration - max_seconds / 4)
        middle = _middle_of_longest(gaps, start + max_seconds / 2, latest)
        start = math.floor(middle / step_seconds) * step_seconds
        edges.append(round(start * audio.sample_rate))
    edges.append(len(audio.samples))
    return [Audio(audio.samples[a:b], audio.sample_rate) for a, b in pairwise(edges)]


def _middle_of_longest(gaps: list[Span], earliest: float, latest: float) -> float:
    """The middle of the longest pause, as far as it lies between two times."""
    inside = [(max(a, earliest), min(b, latest)) for a, b in gaps if b >= earliest and a <= latest]
    start, end = max(inside, key=lambda gap: gap[1] - gap[0], default=(latest, latest))
    return (start + end) / 2


def split_long_spans(audio: Audio, spans: list[Span], max_seconds: float) -> list[Span]:
    """Cut spans longer than `max_seconds` at their quietest points into touching pieces."""
    if all(end - start <= max_seconds for start, end in spans):
        return spans
    hop_seconds = 0.01
    levels = frame_levels_db(audio, hop_seconds)
    smooth = np.convolve(levels, np.ones(5) / 5, mode="same")  # one quiet sample is no pause
    pieces: list[Span] = []
    for start, end in spans:
        while end - start > max_seconds:
            # Look in the second half of what fits, and leave a half for the rest.
            latest = min(start + max_seconds, end - max_seconds / 4)
            first, last = (round(edge / hop_seconds) for edge in (start + max_seconds / 2, latest))
            cut = (first + int(smooth[first:last].argmin()) + 0.5) * hop_seconds
            pieces.append((start, cut))
            start = cut
        pieces.append((start, end))
    return pieces


def _group(spans: list[Span], config: SliceConfig, room: float) -> list[Span]:
    """Join spans over pauses too short to cut at, or while the slice is too short, if they fit."""
    groups: list[Span] = []
    for start, end in spans:
        if groups:
            first, last = groups[-1]
            wants_more = start - last < config.min_pause or last - first < config.min_seconds
            if wants_more and end - first <= room:
                groups[-1] = (first, end)
                continue
        groups.append((start, end))
    return groups


def _absorb_short(groups: list[Span], config: SliceConfig, room: float) -> list[Span]:
    """Give a slice that stayed too short to the slice before it, if that has room."""
    kept: list[Span] = []
    for start, end in groups:
        is_short = end - start < config.min_seconds
        if kept and is_short and end - kept[-1][0] <= room:
            kept[-1] = (kept[-1][0], end)
        else:
            kept.append((start, end))
    return kept


def _pad(groups: list[Span], duration: float, config: SliceConfig) -> list[Span]:
    """Widen by `padding`, for short slices by more, up to half of the silence to a neighbour."""
    starts = [0.0, *(0.5 * (a[1] + b[0]) for a, b in pairwise(groups))]
    ends = [*starts[1:], duration]
    padded = []
    for (start, end), lowest, highest in zip(groups, starts, ends, strict=True):
        missing = max(config.padding, (config.min_seconds - (end - start)) / 2)
        left = max(lowest, start - missing)
        right = min(highest, max(end + missing, left + config.min_seconds))
        left = max(lowest, min(left, right - config.min_seconds))
        padded.append((min(left, start), max(right, end)))
    return padded


def _cut(audio: Audio, start: float, end: float) -> Slice:
    first, last = round(start * audio.sample_rate), round(end * audio.sample_rate)
    samples = audio.samples[first:last]
    return Slice(start, end, Audio(samples, audio.sample_rate))
