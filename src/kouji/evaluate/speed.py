"""How fast a synthesiser is: real-time factor, and the wait for the first audio.

Medians over several runs after one warm-up; the machine's other work shows in them.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

from kouji.evaluate.systems import StreamingSynthesiser


@dataclass(frozen=True)
class Speed:
    """Medians: seconds of work per second of speech, and seconds to the first chunk."""

    real_time_factor: float
    first_audio_seconds: float
    speech_seconds: float


def measure_speed(
    synthesiser: StreamingSynthesiser, voice: Any, text: str, *, runs: int = 5
) -> Speed:
    """Speak and stream one text `runs` times each, after a warm-up of both."""
    speech = synthesiser.speak(text, voice)
    next(iter(synthesiser.stream(text, voice)))
    spoken = [_timed(lambda: synthesiser.speak(text, voice)) for _ in range(runs)]
    first = [_timed(lambda: next(iter(synthesiser.stream(text, voice)))) for _ in range(runs)]
    duration = speech.audio.duration
    return Speed(statistics.median(spoken) / duration, statistics.median(first), duration)


def _timed(work: Any) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
