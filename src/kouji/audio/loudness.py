"""Loudness by ITU-R BS.1770-4 (gated, K-weighted), measured and set.

Knows samples and LUFS. Never clips: where the wanted loudness would push a peak over the limit the
gain is smaller, and the result says so. Does not know which loudness a stage wants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kouji.errors import AudioError
from kouji.types import Audio

REFERENCE_LUFS = -23.0  # EBU R 128
PEAK_LIMIT = 0.98  # full scale is 1; what is left is for resampling and lossy codecs
BLOCK_SECONDS = 0.4  # the gating block of BS.1770
SILENCE_LUFS = -70.0  # the absolute gate: below it BS.1770 hears nothing


@dataclass(frozen=True)
class LoudnessChange:
    """What a change of loudness did; `is_limited` says a peak kept the gain below the wanted.

    measured_lufs: before, -inf for silence; reached_lufs: after
    """

    audio: Audio
    measured_lufs: float
    reached_lufs: float
    gain_db: float
    is_limited: bool


def measure_loudness(audio: Audio) -> float:
    """Integrated loudness in LUFS; -inf for silence.

    A clip shorter than one 0.4 s block is repeated until it fills one: it is then as loud as a
    steady sound of its kind, while padding with silence would call it too quiet.
    """
    import pyloudnorm

    if len(audio.samples) == 0:
        raise AudioError("an empty clip has no loudness", allowed="one sample or more")
    samples = audio.samples.astype(np.float64)
    num_block = math.ceil(BLOCK_SECONDS * audio.sample_rate) + 1
    if len(samples) < num_block:
        samples = np.resize(samples, num_block)
    with np.errstate(divide="ignore", invalid="ignore"):
        lufs = float(pyloudnorm.Meter(audio.sample_rate).integrated_loudness(samples))
    return lufs if math.isfinite(lufs) else -math.inf


def change_loudness(audio: Audio, lufs: float = REFERENCE_LUFS) -> LoudnessChange:
    """Bring `audio` to `lufs` with one gain for all samples, keeping peaks within PEAK_LIMIT.

    Silence is returned as it is, with a gain of 0 dB.
    """
    if not -70.0 <= lufs <= 0.0:
        raise AudioError("the wanted loudness is out of range", seen=lufs, allowed="-70 to 0 LUFS")
    measured = measure_loudness(audio)
    if measured == -math.inf:
        return LoudnessChange(audio, measured, measured, 0.0, is_limited=False)
    wanted = 10 ** ((lufs - measured) / 20)
    gain = min(wanted, PEAK_LIMIT / float(np.abs(audio.samples).max()))
    gain_db = 20 * math.log10(gain)
    louder = Audio((audio.samples * np.float32(gain)).astype(np.float32), audio.sample_rate)
    return LoudnessChange(louder, measured, measured + gain_db, gain_db, is_limited=gain < wanted)


def normalise_loudness(audio: Audio, lufs: float = REFERENCE_LUFS) -> Audio:
    """`change_loudness` for callers who do not ask what it did."""
    return change_loudness(audio, lufs).audio
