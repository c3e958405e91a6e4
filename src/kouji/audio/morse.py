"""The rhythm of "AI" in Morse: short long, short short, as soft tones.

Heard, it says in every language that speech is AI-generated. Knows tones; whether and where it
is played is `kouji.notice`'s.
"""

from __future__ import annotations

import numpy as np

from kouji.types import Samples

TONE_HZ = 800.0
PEAK = 0.1  # soft beside speech, and clear
UNIT_SECONDS = 0.09  # a dot; a dash and the gap between letters last three: 13 words a minute
_EDGE_SECONDS = 0.01  # raised-cosine rise and fall: no clicks
_LETTERS = (".-", "..")  # A, I


def morse_ai(sample_rate: int) -> Samples:
    """(samples,) of about one second at `sample_rate`, beginning and ending in the tones."""
    unit = round(UNIT_SECONDS * sample_rate)
    parts: list[Samples] = []
    for letter in _LETTERS:
        for sign in letter:
            parts += [_tone(unit * (3 if sign == "-" else 1), sample_rate), _silence(unit)]
        parts.append(_silence(2 * unit))  # with the gap after the last sign, three
    return np.concatenate(parts[:-2])


def _tone(num_samples: int, sample_rate: int) -> Samples:
    times = np.arange(num_samples) / sample_rate
    distance = np.minimum(times, times[::-1])  # to the nearer end
    edges = 0.5 - 0.5 * np.cos(np.pi * np.minimum(distance / _EDGE_SECONDS, 1.0))
    return np.asarray(PEAK * edges * np.sin(2 * np.pi * TONE_HZ * times), np.float32)


def _silence(num_samples: int) -> Samples:
    return np.zeros(num_samples, np.float32)
