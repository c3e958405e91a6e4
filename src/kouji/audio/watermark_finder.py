"""Find the watermark: at its own speed everywhere, then at other speeds in the best places.

The whitened sound is folded to the mark's one second and tried at every offset, with the whole
band and with what a telephone leaves of it; the score is the peak in standard deviations. The
threshold rises with the number of searches. Knows samples only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from kouji.audio.resample import resample
from kouji.audio.watermark_pattern import HIGH_HZ, LOW_HZ, Lines
from kouji.audio.watermark_peak import Peak, peaks_in_bands
from kouji.audio.watermark_speed import NUM_PIECES, PIECE_SECONDS, best_speed
from kouji.audio.watermark_whiten import FINDER_RATE, whiten
from kouji.types import Audio, Samples

MIN_FINDER_RATE_HZ = 8_000
_WINDOW_SECONDS = 8
_MIN_SAMPLES = 4_000  # 0.25 s

# Gumbel fits to the scores of unmarked speech (benchmarks/watermark.py): one search of one
# window, and the best of all speeds in one piece.
NULL_LOCATION, NULL_SCALE = 4.18, 0.24
SPEED_NULL_LOCATION, SPEED_NULL_SCALE = 5.6, 0.22
FALSE_ALARM_RATE = 3e-4  # per recording asked about, at its own speed
SPEED_FALSE_ALARM_RATE = 2e-4  # and at all others together


@dataclass(frozen=True)
class Detection:
    """What was found: `score` is the pattern's peak in standard deviations of what is no peak.

    payload: the number, or None where only presence is certain
    speed:   how much faster than it was made the recording plays
    """

    found: bool
    payload: int | None
    score: float
    speed: float = 1.0


NOTHING = Detection(found=False, payload=None, score=0.0)


def detect(audio: Audio, *, search_speeds: bool = True) -> Detection:
    """Look for the mark anywhere in `audio`, from 0.25 s on; 3 s and more give sure answers.

    search_speeds: where nothing is found at the recording's own speed, try those up to 6 % off in
                   the two loudest pieces of 4 s, which takes up to a second

    Each window of 8 s is searched, and all of them together; the best counts. The threshold rises
    with the number of searches, so that a long recording gives no more false alarms than a short.
    """
    if audio.sample_rate < MIN_FINDER_RATE_HZ or len(audio.samples) == 0:
        return NOTHING
    is_narrow = audio.sample_rate < FINDER_RATE
    samples = resample(audio, FINDER_RATE).samples
    if len(samples) < _MIN_SAMPLES or not np.any(samples):
        return NOTHING
    detection = _find_at_own_speed(samples, is_narrow)
    if detection.found or not search_speeds:
        return detection
    return _find_at_other_speeds(samples, is_narrow) or detection


def threshold(num_searches: int = 1) -> float:
    """The score from which on a recording counts as marked, by the measured null distribution."""
    return _quantile(FALSE_ALARM_RATE / num_searches, NULL_LOCATION, NULL_SCALE)


def speed_threshold(num_pieces: int = 1) -> float:
    """The same for the best of all speeds in `num_pieces`."""
    rate = SPEED_FALSE_ALARM_RATE / num_pieces
    return _quantile(rate, SPEED_NULL_LOCATION, SPEED_NULL_SCALE)


def _quantile(rate: float, location: float, scale: float) -> float:
    return location - scale * math.log(-math.log1p(-rate))


def _find_at_own_speed(samples: Samples, is_narrow: bool) -> Detection:
    peaks = list(window_peaks(samples, is_narrow))
    best = max(peaks, key=_score)
    found = best.score >= threshold(len(peaks))
    if not found:
        return Detection(found, None, best.score)
    likely = sorted(peaks, key=_score, reverse=True)[:4]
    number = next((number for peak in likely if (number := peak.number()) is not None), None)
    return Detection(found, number, best.score)


def _score(peak: Peak) -> float:
    return peak.score


def window_peaks(samples: Samples, is_narrow: bool = False) -> Iterator[Peak]:
    """The best place in each window and in all of them together, in each band."""
    total, num_windows = np.zeros(HIGH_HZ - LOW_HZ, np.complex128), 0
    for piece in _pieces(samples, _WINDOW_SECONDS * FINDER_RATE):
        lines = _folded(piece)
        total += lines
        num_windows += 1
        yield from peaks_in_bands(lines, is_narrow)
    if num_windows > 1:
        yield from peaks_in_bands(total, is_narrow)


def _pieces(samples: Samples, num_samples: int) -> Iterator[Samples]:
    """What lies in each stretch of `num_samples`, but no silence and no short rest.

    The first piece always counts, so that there is one.
    """
    for start in range(0, len(samples), num_samples):
        piece = samples[start : start + num_samples]
        if start == 0 or (len(piece) >= _MIN_SAMPLES and np.any(piece)):
            yield piece


def _folded(samples: Samples) -> Lines:
    """(lines,) of the whitened sound, folded to one second, at the mark's frequencies."""
    whitened = whiten(samples)
    padding = -len(whitened) % FINDER_RATE
    second = np.pad(whitened, (0, padding)).reshape(-1, FINDER_RATE).sum(axis=0)
    return np.asarray(np.fft.rfft(second)[LOW_HZ:HIGH_HZ])


def _find_at_other_speeds(samples: Samples, is_narrow: bool) -> Detection | None:
    """What is found at the likeliest speed; None where no speed is likely enough."""
    pieces = sorted(_pieces(samples, PIECE_SECONDS * FINDER_RATE), key=_energy)[-NUM_PIECES:]
    candidates = [best_speed(whiten(piece), is_narrow) for piece in pieces]
    speed, found = max(candidates, key=lambda it: it.peak.score)
    if found.score < speed_threshold(len(pieces)):
        return None
    # All of the sound at the speed it was made with: more of it may tell the number.
    original = soxr.resample(samples, FINDER_RATE, FINDER_RATE * speed)
    whole = _find_at_own_speed(original.astype(np.float32), is_narrow)
    number = whole.payload if whole.payload is not None else found.number()
    return Detection(True, number, max(found.score, whole.score), speed)


def _energy(samples: Samples) -> float:
    return float(np.dot(samples, samples))
