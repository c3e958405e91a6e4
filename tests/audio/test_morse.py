"""The rhythm of "AI": short long, short short; soft, whole, without clicks."""

import numpy as np
import pytest

from kouji.audio.morse import PEAK, UNIT_SECONDS, morse_ai


def runs(samples: np.ndarray, rate: int) -> list[tuple[bool, int]]:
    """Stretches of tone and silence with their length in units, by the envelope of 5 ms."""
    num = rate // 200
    envelope = np.abs(samples[: len(samples) // num * num]).reshape(-1, num).max(axis=1)
    is_tone = envelope > PEAK / 4
    cuts = np.flatnonzero(np.diff(is_tone)) + 1
    unit = UNIT_SECONDS * 200
    return [(bool(part[0]), round(len(part) / unit)) for part in np.split(is_tone, cuts)]


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 32000, 48000])
def test_it_reads_ai(rate: int) -> None:
    samples = morse_ai(rate)
    assert samples.dtype == np.float32
    dot, dash, gap, between = (True, 1), (True, 3), (False, 1), (False, 3)
    assert [run for run in runs(samples, rate) if run[1]] == [
        dot,
        gap,
        dash,
        between,
        dot,
        gap,
        dot,
    ]


def test_it_is_soft_and_does_not_click() -> None:
    samples = morse_ai(24000)
    assert 0.9 * PEAK < np.abs(samples).max() <= PEAK
    assert 0.5 < len(samples) / 24000 < 1.5
    assert abs(samples[0]) < 1e-3
    assert abs(samples[-1]) < 1e-3
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / 24000)
    assert spectrum[np.abs(hertz - 800) > 250].sum() < 1e-3 * spectrum.sum()
