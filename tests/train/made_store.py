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


def write_made_store(folder: Path, num_clips: int = 60, seed: int = 1) -> list[NDArray[np.int64]]:
    """Write the store; returns the true durations of each clip's phones in frames.

    Two speakers take turns; every tenth clip is valid, the rest train.
    """
    rng = np.random.default_rng(seed)
    spectra = {name: rng.normal(-4, 2, NUM_MELS) for name in NAMES}
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
        wave = 6000 * np.sin(2 * np.pi * f0.max() * times)
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
