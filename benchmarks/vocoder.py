"""Vocoder against Griffin-Lim on real held-out mels: PESQ, log-magnitude distance, speed.

    python benchmarks/vocoder.py --data runs/prepared --model mini

Log-magnitude distance: mean absolute difference of natural-log STFT magnitudes (1024-point
windows, floor 1e-3 of the clip's peak magnitude). PESQ is wide-band at 16 kHz. Clips are
of speakers never trained on. Prints a table, then one JSON line. Needs `pip install pesq`, which is
compiled then.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kouji.audio.features import MINI_FINE_MEL
from kouji.audio.griffin_lim import griffin_lim
from kouji.audio.resample import resample
from kouji.models.mini.config import HOP_SAMPLES
from kouji.models.mini.fine_mel import log_magnitudes, measure_fine_mel
from kouji.models.mini.synthesis import vocode_mel
from kouji.models.mini.weights import SHIPPED, load_checkpoint
from kouji.train.store import Store
from kouji.types import Audio

Wave = NDArray[np.float32]


def log_distance(made: Wave, real: Wave) -> float:
    """See the module's docstring."""
    spectra = []
    for wave in (made, real):
        frames = torch.stft(
            torch.from_numpy(wave), 1024, 256, window=torch.hann_window(1024), return_complex=True
        )
        spectra.append(frames.abs())
    floor = 1e-3 * float(spectra[1].max())
    logs = [(spectrum + floor).log() for spectrum in spectra]
    return float((logs[0] - logs[1]).abs().mean())


def pesq_wideband(made: Wave, real: Wave) -> float:
    """PESQ of 24 kHz waves, compared at 16 kHz."""
    from pesq import pesq

    pair = [resample(Audio(wave, 24_000), 16_000).samples for wave in (real, made)]
    return float(pesq(16_000, pair[0], pair[1], "wb"))


def main() -> None:
    """Measure both on the same clips, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="runs/prepared")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--clips", type=int, default=20)
    options = parser.parse_args()
    store = Store(options.data).subset(lambda clip: clip.split == "test" and clip.seconds > 2)
    chosen = np.random.default_rng(0).permutation(len(store))[: options.clips]
    folder = SHIPPED if options.model == "mini" else Path(options.model)
    vocoder = load_checkpoint(folder).vocoder
    systems: dict[str, Callable[[torch.Tensor], Wave]] = {
        "mini vocoder": lambda mel: vocode_mel(vocoder, mel[0], seed=0),
        "the same, unfitted": lambda mel: vocode_mel(vocoder, mel[0], seed=0, is_fitted=False),
        "Griffin-Lim 32": lambda mel: griffin_lim(log_magnitudes(mel), MINI_FINE_MEL)[0].numpy(),
    }
    figures: dict[str, dict[str, list[float]]] = {
        name: {"pesq": [], "log_distance": [], "rtf": []} for name in systems
    }
    for index in chosen:
        real = store.samples(int(index))
        real = real[: 24_000 * 8 // HOP_SAMPLES * HOP_SAMPLES]
        mel = measure_fine_mel(torch.from_numpy(real)[None])
        for name, make in systems.items():
            began = time.perf_counter()
            made = make(mel)
            spent = time.perf_counter() - began
            figures[name]["pesq"].append(pesq_wideband(made, real[: len(made)]))
            figures[name]["log_distance"].append(log_distance(made, real[: len(made)]))
            figures[name]["rtf"].append(spent / (len(made) / 24_000))
    print(f"{'system':18} {'PESQ-wb':>8} {'log dist':>9} {'RTF':>8}   ({len(chosen)} clips)")
    means = {}
    for name, row in figures.items():
        means[name] = {
            "pesq": statistics.fmean(row["pesq"]),
            "log_distance": statistics.fmean(row["log_distance"]),
            "rtf": statistics.median(row["rtf"]),
        }
        one = means[name]
        print(f"{name:18} {one['pesq']:8.2f} {one['log_distance']:9.3f} {one['rtf']:8.4f}")
    print(json.dumps({"benchmark": "vocoder", "clips": len(chosen), "systems": means}))


if __name__ == "__main__":
    main()
