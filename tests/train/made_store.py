"""A prepared store of made-up clips in which every phone is a spectrum and a pitch of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kouji.models.mini.config import HOP_SAMPLES, NUM_MELS
from kouji.text.phones import SYMBOL_IDS
from kouji.train.store import Clip, StoreWriter, standard_arrays

NAMES = ("a", "o", "i", "u", "m", "sh")
EDGE_FRAMES = 5
_BINS = 33  # of the spectrum that gives the noise of a phone its colour, 375 Hz apart
_SWELL_SAMPLES = HOP_SAMPLES // 2  # 10 ms: a frame's window reaches so far into the next frame
_BACKGROUND = 0.1  # of a phone's level, as in rooms: what is empty would show any bit of a phone


def _draw_filter(rng: np.random.Generator) -> NDArray[np.float64]:
    """Taps that colour noise and leave it as loud as it was."""
    taps = np.fft.fftshift(np.fft.irfft(np.exp(rng.normal(0, 1, _BINS))))
    return np.asarray(taps / np.linalg.norm(taps))


def _noise(
    rng: np.random.Generator, taps: NDArray[np.float64], num_samples: int
) -> NDArray[np.float64]:
    """White noise of deviation 1 through a filter."""
    return np.convolve(rng.normal(0, 1, num_samples + len(taps) - 1), taps, "valid")


def _swell(num_samples: int) -> NDArray[np.float64]:
    """How loud a phone is from its beginning to its end, at most 1."""
    inside = np.minimum(np.arange(num_samples), np.arange(num_samples)[::-1]) + 0.5
    return np.minimum(inside / _SWELL_SAMPLES, 1)


def write_made_store(folder: Path, num_clips: int = 60, seed: int = 1) -> list[NDArray[np.int64]]:
    """Write the store; returns the true durations of each clip's phones in frames.

    Two speakers take turns; every tenth clip is valid, the rest train.
    """
    rng = np.random.default_rng(seed)
    spectra = {name: rng.normal(-4, 2, NUM_MELS) for name in NAMES}
    filters = {name: _draw_filter(rng) for name in NAMES}
    hush = np.zeros(EDGE_FRAMES * HOP_SAMPLES)
    writer = StoreWriter(folder, standard_arrays(NUM_MELS), tag="t")
    truth = []
    for number in range(num_clips):
        drawn = [NAMES[i] for i in rng.integers(0, len(NAMES), 6)]
        said = [name for name, before in zip(drawn, ["", *drawn], strict=False) if name != before]
        durations = rng.integers(4, 12, len(said))
        edge = np.full((EDGE_FRAMES, NUM_MELS), -11.0)
        middle = [np.tile(spectra[n], (d, 1)) for n, d in zip(said, durations, strict=True)]
        mel = np.concatenate([edge, *middle, edge])
        mel += rng.normal(0, 0.3, mel.shape)
        frames, count = len(mel), len(said)
        f0 = np.where(mel.mean(axis=1) > -9, 120.0 + 80.0 * (number % 2), 0.0)
        times = np.arange(frames * HOP_SAMPLES) / 24_000
        hum = np.sin(2 * np.pi * f0.max() * times)
        lengths = durations * HOP_SAMPLES  # samples
        noises = [_noise(rng, filters[n], m) for n, m in zip(said, lengths, strict=True)]
        loudness = np.concatenate([hush, *map(_swell, lengths), hush])
        background = _BACKGROUND * rng.normal(0, 1, len(times))
        wave = 1500 * (loudness * (hum + np.concatenate([hush, *noises, hush])) + background)
        clip = Clip(
            id=str(number),
            path=f"{number}.wav",
            speaker=f"speaker{number % 2}",
            language="zh",
            gender="f",
            corpus="made",
            text=" ".join(said),
            split="valid" if number % 10 == 9 else "train",
            seconds=frames / 50,
            num_frames=frames,
            num_samples=frames * HOP_SAMPLES,
            num_phones=count,
            level_dbfs=-23.0,
            snr_db=40.0,
            bandwidth_hz=12000.0,
            full_band=True,
        )
        arrays = {
            "mel": mel,
            "f0": f0,
            "energy": np.zeros(frames),
            "wave": wave,
            "phones": np.array([SYMBOL_IDS[name] for name in said]),
            "tones": np.zeros(count),
            "words": np.zeros(count),
            "boundary": np.zeros(count),
        }
        writer.add(clip, arrays)
        truth.append(durations)
    writer.finish(mel={}, sample_rate=24_000, hop_length=HOP_SAMPLES)
    return truth
