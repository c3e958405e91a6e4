"""Pitch, level and length measured on sounds whose values are known."""

import numpy as np
import pytest

from kouji.evaluate.controls import Control, Sweep, sweep_controls
from kouji.evaluate.prosody import correlate_pitch, measure_prosody, pitch_spread, warp
from kouji.types import Audio, Speech

RATE = 24_000


def voice(pitch_hz, seconds=None, level=0.2):
    """A buzz with the melody `pitch_hz` (one value per 20 ms) between two silences."""
    melody = np.repeat(np.asarray(pitch_hz, dtype=float), 480)
    if seconds is not None:
        melody = np.full(round(seconds * RATE), float(pitch_hz))
    phase = 2 * np.pi * np.cumsum(melody) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 12))
    silence = np.zeros(RATE // 4)
    samples = np.concatenate([silence, level * buzz, silence])
    return Audio(samples.astype(np.float32), RATE)


@pytest.mark.parametrize("pitch_hz", [110.0, 220.0])
def test_pitch_and_length_are_those_of_the_sound(pitch_hz):
    prosody = measure_prosody(voice(pitch_hz, seconds=1.0))
    assert prosody.pitch_hz == pytest.approx(pitch_hz, rel=0.02)
    assert prosody.speech_seconds == pytest.approx(1.0, abs=0.06)


def test_level_follows_the_gain_and_ignores_pauses():
    loud = measure_prosody(voice(150, seconds=1.0, level=0.2)).level_db
    quiet = measure_prosody(voice(150, seconds=1.0, level=0.02)).level_db
    assert loud - quiet == pytest.approx(20.0, abs=0.1)


def test_silence_has_no_prosody():
    prosody = measure_prosody(Audio(np.zeros(RATE, np.float32), RATE))
    assert prosody.pitch_hz == 0.0


def test_equal_melodies_correlate_and_opposite_ones_do_not():
    rise = 120 * 2 ** np.linspace(0, 0.7, 75)
    assert correlate_pitch(voice(rise), voice(rise * 1.5)) > 0.9
    assert correlate_pitch(voice(rise), voice(rise[::-1])) < 0.2


def test_too_little_voicing_gives_no_correlation():
    silent = Audio(np.zeros(RATE, np.float32), RATE)
    assert correlate_pitch(silent, voice(150, seconds=1.0)) is None


def test_warping_path_is_monotonic_and_as_cheap_as_the_plain_recursion():
    rng = np.random.default_rng(0)
    for rows, columns in [(1, 1), (1, 7), (7, 1), (5, 9), (12, 8)]:
        costs = rng.random((rows, columns))
        total = np.full((rows, columns), np.inf)
        for r in range(rows):
            for c in range(columns):
                before = [
                    total[r - i, c - j] for i, j in ((1, 1), (1, 0), (0, 1)) if r >= i and c >= j
                ]
                total[r, c] = costs[r, c] + (min(before) if before else 0)
        path = warp(costs)
        assert tuple(path[0]) == (0, 0)
        assert tuple(path[-1]) == (rows - 1, columns - 1)
        assert set(map(tuple, np.diff(path, axis=0))) <= {(1, 1), (1, 0), (0, 1)}
        assert costs[path[:, 0], path[:, 1]].sum() == pytest.approx(total[-1, -1])


def test_monotonic_means_every_step_up():
    assert Sweep("rate", "", (1, 2, 3), (0.1, 0.2, 0.3)).is_monotonic
    assert not Sweep("rate", "", (1, 2, 3), (0.1, 0.3, 0.3)).is_monotonic
    assert not Sweep("rate", "", (1, 2, 3), (0.3, 0.2, 0.1)).is_monotonic


def test_a_sweep_measures_what_the_synthesiser_made_of_each_value():
    class Buzzer:
        def speak(self, *_, style, seed):
            shift = 2 ** (style.pitch_semitones / 12) + 0 * seed
            return Speech(voice(150 * shift, seconds=0.8))

    control = Control("pitch_semitones", (-2.0, 0.0, 2.0), "Hz", lambda p: p.pitch_hz)
    (sweep,) = sweep_controls(Buzzer(), None, "text", controls=[control])
    assert sweep.is_monotonic
    assert sweep.measured[2] / sweep.measured[0] == pytest.approx(2 ** (4 / 12), rel=0.02)


def test_the_spread_of_pitch_is_in_semitones():
    """Gliding evenly over an octave deviates by 12 / sqrt(12) semitones, a tone not at all."""
    glide = 110 * 2 ** np.linspace(0, 1, 150)
    assert pitch_spread(voice(glide)) == pytest.approx(12 / np.sqrt(12), abs=0.3)
    assert pitch_spread(voice(150, seconds=3.0)) < 0.2
    assert pitch_spread(Audio(np.zeros(RATE, np.float32), RATE)) is None
