"""Loudness by ITU-R BS.1770-4 (gated, K-weighted), measured and set.

Knows samples and LUFS. Never clips: where the wanted loudness would push a peak over the limit the
gain is smaller, and the result says so. Does not know which loudness a stage wants. Our own meter,
because pyloudnorm's import alone takes 0.7 s of the time a user waits; the tests compare the two.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kouji.errors import AudioError
from kouji.types import Audio

REFERENCE_LUFS = -23.0  # EBU R 128
PEAK_LIMIT = 0.98  # full scale is 1; what is left is for resampling and lossy codecs
BLOCK_SECONDS = 0.4  # the gating block of BS.1770
STEP_SECONDS = 0.1  # blocks overlap by 75 %
SILENCE_LUFS = -70.0  # the absolute gate: below it BS.1770 hears nothing
_OFFSET = -0.691  # makes a full-scale 997 Hz sine read -3.01
_PIECE_SECONDS, _RUN_IN_SECONDS = 60, 1  # the filters' memory ends far sooner than the run-in


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
    if len(audio.samples) == 0:
        raise AudioError("an empty clip has no loudness", allowed="one sample or more")
    samples = audio.samples.astype(np.float64)
    num_block = round(BLOCK_SECONDS * audio.sample_rate)
    if len(samples) < num_block:
        samples = np.resize(samples, num_block)
    energy = np.concatenate([[0.0], np.cumsum(_weighted_squares(samples, audio.sample_rate))])
    num_steps = int((len(samples) - num_block) / (STEP_SECONDS * audio.sample_rate) + 1e-9) + 1
    starts = np.round(np.arange(num_steps) * STEP_SECONDS * audio.sample_rate).astype(np.int64)
    return _gated((energy[starts + num_block] - energy[starts]) / num_block)


def _gated(powers: NDArray[np.float64]) -> float:
    """LUFS of the blocks over the absolute gate and within 10 LU of those blocks' mean."""
    loud = powers[powers > 10 ** ((SILENCE_LUFS - _OFFSET) / 10)]
    if len(loud) == 0:
        return -math.inf
    loud = loud[loud > loud.mean() / 10]
    return _OFFSET + 10 * math.log10(float(loud.mean()))


def _weighted_squares(samples: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Squares of the K-weighted samples, filtered by FFT minute by minute."""
    num_piece, num_run_in = _PIECE_SECONDS * sample_rate, _RUN_IN_SECONDS * sample_rate
    squares = np.empty_like(samples)
    for start in range(0, len(samples), num_piece):
        begin = max(0, start - num_run_in)
        piece = samples[begin : start + num_piece]
        num_fft = len(piece) + num_run_in  # room for the filters to ring out, not around
        spectrum = np.fft.rfft(piece, num_fft) * _k_weighting(num_fft, sample_rate)
        weighted = np.fft.irfft(spectrum, num_fft)[start - begin : len(piece)]
        squares[start : start + num_piece] = weighted**2
    return squares


def _k_weighting(num_fft: int, sample_rate: int) -> NDArray[np.complex128]:
    """Response of BS.1770's two filters, a shelf for the head and a high-pass, at any rate.

    B. De Man, "Evaluation of implementations of the EBU R128 loudness measurement" (2018), gives
    the analogue parameters behind the standard's coefficients for 48 kHz.
    """
    z = np.exp(-2j * np.pi * np.arange(num_fft // 2 + 1) / num_fft)
    k, q = math.tan(math.pi * 1681.9744509555319 / sample_rate), 0.7071752369554193
    high = 10 ** (3.99984385397 / 20)
    middle = high**0.499666774155
    denominator = 1 + k / q + k * k
    shelf = (
        (high + middle * k / q + k * k)
        + 2 * (k * k - high) * z
        + (high - middle * k / q + k * k) * z * z
    ) / (denominator + 2 * (k * k - 1) * z + (1 - k / q + k * k) * z * z)
    k, q = math.tan(math.pi * 38.13547087613982 / sample_rate), 0.5003270373253953
    denominator = 1 + k / q + k * k
    high_pass = (1 - z) ** 2 / (
        1 + 2 * (k * k - 1) / denominator * z + (1 - k / q + k * k) / denominator * z * z
    )
    return np.asarray(shelf * high_pass)


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
