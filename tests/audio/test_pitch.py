"""The pitch tracker on signals whose pitch is known, and beside WORLD on real speech."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from kouji.audio.pitch import track_pitch
from kouji.errors import UsageError


def glottal(f0_hz: np.ndarray, rate: int) -> np.ndarray:
    """A buzz of 20 falling harmonics that follows `f0_hz` (samples,)."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / rate
    parts = [
        np.where(order * f0_hz < rate / 2, np.sin(order * phase) / order, 0)
        for order in range(1, 21)
    ]
    return (0.2 * np.sum(parts, axis=0)).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("f0", [70.0, 110.0, 220.0, 440.0, 580.0])
def test_constant_pitch_at_every_rate(rate: int, f0: float) -> None:
    samples = glottal(np.full(rate, f0), rate)
    f0_hz, voicing = track_pitch(samples, rate, rate // 50)
    assert f0_hz.shape == voicing.shape == (50,)
    middle = slice(3, -3)
    assert np.abs(f0_hz[middle] / f0 - 1).max() < 0.01
    assert voicing[middle].min() > 0.9


def test_frames_are_centred_like_the_mel() -> None:
    rate, hop = 24000, 480
    truth = np.linspace(100, 300, 2 * rate)
    f0_hz, _ = track_pitch(glottal(truth, rate), rate, hop)
    centres = ((np.arange(len(f0_hz)) + 0.5) * hop).astype(int)
    error = f0_hz[5:-5] / truth[centres][5:-5] - 1
    assert np.abs(error).max() < 0.02
    assert abs(error.mean()) < 0.003  # half a hop of shift would give 0.005


def test_noise_and_silence_are_unvoiced() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(24000).astype(np.float32)
    f0_hz, voicing = track_pitch(noise, 24000, 480)
    assert (f0_hz > 0).mean() < 0.1
    f0_hz, voicing = track_pitch(np.zeros(24000, np.float32), 24000, 480)
    assert not f0_hz.any()
    assert not voicing.any()


def test_voicing_switches_where_the_voice_does() -> None:
    rate, noise = 24000, np.random.default_rng(1).standard_normal(72000)
    samples = (0.03 * noise).astype(np.float32)
    samples[24000:48000] += glottal(np.full(24000, 150.0), rate)
    f0_hz, voicing = track_pitch(samples, rate, 480)
    assert (f0_hz[53:97] > 0).all()
    assert (np.concatenate([f0_hz[:47], f0_hz[103:]]) > 0).mean() < 0.15
    assert np.array_equal(f0_hz > 0, voicing > 0.5)
    assert ((voicing >= 0) & (voicing <= 1)).all()


def test_mains_hum_is_not_a_voice() -> None:
    time = np.arange(48000) / 24000
    hum = (0.05 * np.sin(2 * np.pi * 60 * time)).astype(np.float32)
    hum += 0.01 * np.random.default_rng(2).standard_normal(48000).astype(np.float32)
    hum[24000:] += glottal(np.full(24000, 130.0), 24000)
    f0_hz, _ = track_pitch(hum, 24000, 480)
    assert np.abs(f0_hz[53:-3] / 130 - 1).max() < 0.03
    assert (f0_hz[:47] > 0).mean() < 0.1


@pytest.mark.parametrize("num_samples", [0, 1, 479, 480, 481, 1000])
def test_short_clips(num_samples: int) -> None:
    f0_hz, voicing = track_pitch(np.ones(num_samples, np.float32), 24000, 480)
    assert len(f0_hz) == len(voicing) == num_samples // 480


def test_wrong_input_is_named() -> None:
    with pytest.raises(UsageError, match="mono"):
        track_pitch(np.zeros((2, 100), np.float32), 24000, 480)
    with pytest.raises(UsageError, match="rate"):
        track_pitch(np.zeros(100, np.float32), 1000, 480)


def test_agrees_with_world_on_speech(shared_dir: Path) -> None:
    pyworld = pytest.importorskip("pyworld")
    import soundfile

    folder = shared_dir / "corpus/speech"
    with (folder / "manifest.csv").open(encoding="utf8") as file:
        rows = list(csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    rows = [row for row in rows if 1.5 < float(row["duration_s"]) < 5]
    chosen = [rows[i] for i in np.random.default_rng(5).choice(len(rows), 10, replace=False)]
    gross = voiced = 0
    for row in chosen:
        samples, rate = soundfile.read(folder / row["path"])
        ours, _ = track_pitch(samples.astype(np.float32), rate, rate // 50)
        golden, times = pyworld.dio(samples, rate, f0_floor=60, f0_ceil=600, frame_period=10.0)
        golden = pyworld.stonemask(samples, golden, times, rate)[1::2][: len(ours)]
        ours = ours[: len(golden)]
        both = (ours > 0) & (golden > 0)
        gross += int((np.abs(ours / np.maximum(golden, 1) - 1)[both] > 0.2).sum())
        voiced += int(both.sum())
    assert voiced > 300
    assert gross / voiced < 0.05
