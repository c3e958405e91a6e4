"""A line fitted into its slot: faster where it is too long, within what can be followed.

Knows seconds and rates; how a line is spoken at a rate is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kouji.types import Samples, Timing

MAX_RATE = 1.6  # times the pace the style asks for; beyond it words are hard to follow
MARGIN = 1.02  # paces are not exact
TRIES = 3
TAIL_SECONDS = 0.12  # kept behind the last word
FADE_SECONDS = 0.02


@dataclass(frozen=True)
class Sound:
    """What was heard of one line. samples: (samples,) float32 at `sample_rate`"""

    samples: Samples
    sample_rate: int
    words: tuple[Timing, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Of all of it."""
        return len(self.samples) / self.sample_rate


def fit(
    first: Sound, slot_seconds: float, speak: Callable[[float], Sound]
) -> tuple[Sound, float, str | None]:
    """The sound that fits best, the rate it took, and a warning if it still does not fit.

    first: at rate 1
    speak: the same line at another rate
    """
    best, rate = trim(first), 1.0
    for _ in range(TRIES - 1):
        if best.seconds <= slot_seconds or rate >= MAX_RATE:
            break
        rate = min(MAX_RATE, rate * MARGIN * best.seconds / slot_seconds)
        best = trim(speak(rate))
    over = best.seconds - slot_seconds
    if over <= 0:
        return best, rate, None
    told = f"{over:.2f} s longer than its slot of {slot_seconds:.2f} s, even at {rate:.2f} x"
    return best, rate, told


def trim(sound: Sound) -> Sound:
    """Without the pause behind the last word, which a slot has no room for."""
    if not sound.words:
        return sound
    end = round((sound.words[-1].end + TAIL_SECONDS) * sound.sample_rate)
    if end >= len(sound.samples):
        return sound
    samples = sound.samples[:end].copy()
    num_fade = min(end, round(FADE_SECONDS * sound.sample_rate))
    samples[end - num_fade :] *= np.linspace(1, 0, num_fade, dtype=np.float32)
    return Sound(samples, sound.sample_rate, sound.words, sound.warnings)
