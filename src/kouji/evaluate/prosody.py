"""Prosody measured on sound: pitch, level, length, and how two melodies agree.

Pitch correlation compares an output with a recording of the same text by someone else:
the two are aligned in time on their spectra first (dynamic time warping), then the
log-pitch of frames voiced in both is correlated. It rewards a natural melody, but two
good readers of one sentence reach only about a half.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kouji.types import Audio

RATE = 24_000
HOP = 480  # 20 ms
MIN_SHARED_FRAMES = 25  # half a second of common voicing
ACTIVE_DB = 35.0  # frames this far below the loudest are pauses

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prosody:
    """A clip in numbers: median pitch in Hz (0 unvoiced), active level in dBFS, seconds."""

    pitch_hz: float
    level_db: float
    speech_seconds: float


def measure_prosody(audio: Audio) -> Prosody:
    """Median pitch, mean level and length of the speech in a clip; pauses at its ends are cut."""
    resampled = _resampled(audio)
    pitch = _pitch(resampled)
    levels = _levels(resampled)
    active = np.flatnonzero(levels > levels.max(initial=-120.0) - ACTIVE_DB)
    if not len(active):
        return Prosody(0.0, -120.0, 0.0)
    power = np.mean(10 ** (levels[active] / 10))
    voiced = pitch[pitch > 0]
    return Prosody(
        float(np.median(voiced)) if len(voiced) else 0.0,
        float(10 * np.log10(power)),
        float(active[-1] - active[0] + 1) * HOP / RATE,
    )


def pitch_spread(audio: Audio) -> float | None:
    """Standard deviation of the pitch of voiced frames, semitones: how lively a reading is.

    Frames more than an octave from the median are left out as errors of the tracker.
    None if fewer than `MIN_SHARED_FRAMES` are voiced.
    """
    pitch = _pitch(_resampled(audio))
    voiced = pitch[pitch > 0]
    if len(voiced) < MIN_SHARED_FRAMES:
        return None
    semitones = 12 * np.log2(voiced / np.median(voiced))
    return float(semitones[np.abs(semitones) < 12].std())


def correlate_pitch(first: Audio, second: Audio) -> float | None:
    """Correlation of two readings' log-pitch after time alignment, -1 to 1.

    None if fewer than `MIN_SHARED_FRAMES` are voiced in both.
    """
    pitches, shapes = [], []
    for audio in (first, second):
        resampled = _resampled(audio)
        pitch, shape = _pitch(resampled), _spectral_shape(resampled)
        frames = min(len(pitch), len(shape))
        pitches.append(pitch[:frames])
        shapes.append(shape[:frames])
    path = warp(1.0 - shapes[0] @ shapes[1].T)
    pairs = np.stack([pitches[0][path[:, 0]], pitches[1][path[:, 1]]])
    shared = np.log(pairs[:, (pairs > 0).all(axis=0)])
    if shared.shape[1] < MIN_SHARED_FRAMES or shared.std(axis=1).min() < 1e-6:
        return None
    return float(np.corrcoef(shared)[0, 1])


def warp(costs: Floats) -> NDArray[np.int64]:
    """Cheapest monotonic path through a cost table, by diagonals.

    costs:   (rows, columns)
    returns: (steps, 2) pairs of row and column from (0, 0) to the last corner
    """
    rows, columns = costs.shape
    # total[d, r]: cheapest way to (r, d - r); diagonals make each step one numpy operation.
    total = np.full((rows + columns - 1, rows + 1), np.inf)  # one spare column: r - 1 of r = 0
    for diagonal in range(rows + columns - 1):
        r = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        best = np.zeros(len(r)) if diagonal == 0 else _cheapest_before(total, diagonal, r)
        total[diagonal, r] = best + costs[r, diagonal - r]
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        row, column = path[-1]
        options = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        inside = [(r, c) for r, c in options if r >= 0 and c >= 0]
        path.append(min(inside, key=lambda place: total[place[0] + place[1], place[0]]))
    return np.array(path[::-1])


def _cheapest_before(total: Floats, diagonal: int, r: NDArray[np.int64]) -> Floats:
    straight = np.minimum(total[diagonal - 1, r], total[diagonal - 1, r - 1])
    if diagonal < 2:
        return np.asarray(straight)
    return np.asarray(np.minimum(straight, total[diagonal - 2, r - 1]))


def _resampled(audio: Audio) -> Audio:
    from kouji.audio.resample import resample

    return resample(audio, RATE)


def _pitch(audio: Audio) -> Floats:
    """(frames,) Hz, 0 where unvoiced."""
    from kouji.audio.pitch import track_pitch

    f0, voicing = track_pitch(audio.samples, RATE, HOP)
    return np.where(voicing > 0.5, f0, 0.0).astype(np.float64)


def _levels(audio: Audio) -> Floats:
    """(frames,) level in dBFS."""
    frames = len(audio.samples) // HOP
    blocks = audio.samples[: frames * HOP].astype(np.float64).reshape(frames, HOP)
    return np.asarray(10 * np.log10(np.mean(blocks**2, axis=1) + 1e-12))


def _spectral_shape(audio: Audio) -> Floats:
    """(frames, bands) unit vectors of the mel spectrum below 8 kHz without its mean colour."""
    import torch

    from kouji.audio.features import MINI_MEL, mel_spectrogram

    mel = mel_spectrogram(torch.from_numpy(audio.samples)[None], MINI_MEL)[0, :70].T
    shape = mel.double().numpy()
    shape = shape - shape.mean(axis=0)
    return np.asarray(shape / (np.linalg.norm(shape, axis=1, keepdims=True) + 1e-9))
