"""Figures of a recording: noise, clipping, bandwidth, and which seconds of it are best.

Measures only; what is good enough is `clean`'s business.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from kouji.audio.denoise import WINDOW_SECONDS, profile_noise, quietest_power
from kouji.audio.vad import Span, frame_levels_db
from kouji.types import Audio, Samples

FULL_SCALE = 0.999
LOWEST_VOICE_HZ = 80.0  # the ratio of signal to noise is taken above it
MAX_SNR_DB = 60.0  # what is beyond is digital silence between words, not a quality


def mark_clipped(samples: Samples) -> NDArray[np.bool_]:
    """True for samples at full scale and for flat tops (>= 3 equal samples) near the peak.

    Flat tops show clipping that was turned down afterwards; a wave that only touches its peak has
    none of them.
    """
    magnitude = np.abs(samples)
    peak = float(magnitude.max(initial=0.0))
    if peak < 1e-3:
        return np.zeros(len(samples), bool)
    is_near = magnitude > 0.95 * peak
    is_flat = np.abs(np.diff(samples)) <= 1e-5 * peak
    pair = is_flat & is_near[1:] & is_near[:-1]
    triple = pair[1:] & pair[:-1]
    clipped = np.zeros(len(samples), bool)
    for shift in range(3):
        clipped[shift : shift + len(triple)] |= triple
    return clipped | (magnitude >= FULL_SCALE)


def estimate_snr_db(audio: Audio, spans: list[Span]) -> float:
    """Signal-to-noise ratio of the speech in `spans` against the stationary background, in dB.

    Within 4 dB of the truth for white and pink noise mixed in at 0 to 20 dB; a crowd of voices
    looks partly like speech and is judged 3 to 9 dB too kindly below 10 dB.
    """
    profile = profile_noise(audio)
    is_speech = _within(profile.frame_seconds(audio.sample_rate), spans)
    if not is_speech.any():
        is_speech = np.ones(len(profile.power), bool)
    # Below the voice lies rumble and hum: some clean LibriSpeech clips have more of it than speech.
    power = profile.power[:, math.ceil(LOWEST_VOICE_HZ * WINDOW_SECONDS) :]
    total = float(power[is_speech].sum(axis=1).mean())
    # A held vowel fills its frequencies all the time; then the pauses tell the noise better.
    noise = min(float(profile.noise[-power.shape[1] :].sum()), quietest_power(power))
    if total < 1e-12:
        return -MAX_SNR_DB
    ratio = max(total - noise, 1e-6 * total) / max(noise, 1e-6 * total)
    return 10.0 * math.log10(ratio)


def bandwidth_hz(audio: Audio, spans: list[Span]) -> float:
    """Highest frequency that carries anything: the recording's, whatever its sample rate says."""
    size = max(64, round(0.032 * audio.sample_rate))
    if len(audio.samples) < 4 * size:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(audio.samples, size)[:: size // 2]
    seconds = (np.arange(len(frames)) + 1) * (size // 2) / audio.sample_rate
    is_speech = _within(seconds, spans)
    frames = frames[is_speech] if is_speech.any() else frames
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)))
    # A quantile, not the mean: a click has every frequency and says nothing of the band.
    spectrum = 10.0 * np.log10(np.quantile(power, 0.8, axis=0) / size + 1e-14)
    carrying = np.flatnonzero(spectrum > max(spectrum.max() - 65.0, -125.0))
    return float(carrying[-1] * audio.sample_rate / size) if len(carrying) else 0.0


def crop(audio: Audio, spans: list[Span], part: Span, seconds: float) -> tuple[Audio, list[Span]]:
    """At most `seconds` around the middle of `part`, and the spans in its own time."""
    if audio.duration <= seconds:
        return audio, spans
    start = min(max(0.0, sum(part) / 2 - seconds / 2), audio.duration - seconds)
    first = round(start * audio.sample_rate)
    samples = audio.samples[first : first + round(seconds * audio.sample_rate)]
    moved = [(max(0.0, a - start), min(seconds, b - start)) for a, b in spans]
    return Audio(samples, audio.sample_rate), [(a, b) for a, b in moved if b > a]


def choose_best_part(
    audio: Audio, spans: list[Span], seconds: tuple[float, float], padding: float = 0.1
) -> Span:
    """The part from one span's start to another's end with the most clear speech.

    seconds: shortest and longest part wanted; the shortest is missed only where there is no more
             speech. `spans` must each fit in the longest.
    """
    if not spans:
        return 0.0, min(audio.duration, seconds[1])
    levels = frame_levels_db(audio)
    clipped = np.concatenate([[0], np.cumsum(mark_clipped(audio.samples))])
    best, best_score = spans[0], -math.inf
    for first, (start, _) in enumerate(spans):
        for last in range(first, len(spans)):
            end = spans[last][1]
            if end - start > seconds[1] - 2 * padding + 1e-6 and last > first:
                break
            spoken = sum(b - a for a, b in spans[first : last + 1])
            level = _mean_level(levels, spans[first : last + 1])
            edges = np.clip(np.array([start, end]) * audio.sample_rate, 0, len(audio.samples))
            num_clipped = np.diff(clipped[edges.astype(int)])[0]
            score = spoken + 0.1 * level - 500.0 * num_clipped / audio.sample_rate
            score -= 10.0 * max(0.0, seconds[0] - (end - start))
            if score > best_score:
                best, best_score = (start, end), score
    return _widen(best, spans, audio.duration, seconds[1], padding)


def choose_all_speech(audio: Audio, spans: list[Span], padding: float = 0.5) -> Span:
    """From the first span to the last, with so much around them that no faint word is lost."""
    if not spans:
        return 0.0, audio.duration
    return _widen((spans[0][0], spans[-1][1]), spans, audio.duration, math.inf, padding)


def _widen(part: Span, spans: list[Span], duration: float, longest: float, padding: float) -> Span:
    """Keep some silence around the part, but nothing of a neighbouring span."""
    before = max([end for _, end in spans if end <= part[0]], default=0.0)
    after = min([start for start, _ in spans if start >= part[1]], default=duration)
    room = max(0.0, min(padding, (longest - (part[1] - part[0])) / 2))
    return max(before, part[0] - room), min(after, part[1] + room)


def _mean_level(levels: NDArray[np.float64], spans: list[Span]) -> float:
    """Level of the speech in dB, power-averaged over 10 ms frames."""
    parts = [levels[round(start * 100) : round(end * 100)] for start, end in spans]
    power = np.power(10.0, np.concatenate(parts) / 10.0)
    return 10.0 * math.log10(float(power.mean()) + 1e-10) if len(power) else -100.0


def _within(seconds: NDArray[np.float64], spans: list[Span]) -> NDArray[np.bool_]:
    inside = np.zeros(len(seconds), bool)
    for start, end in spans:
        inside |= (seconds >= start) & (seconds < end)
    return inside
