"""Pictures of the documentation: the demo beside a real recording, and the loss curves.

python benchmarks/pictures.py --demo demo --out docs/images
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from kouji.audio.load import load_audio
from kouji.audio.pitch import track_pitch
from kouji.models.mini.weights import SHIPPED
from kouji.voices.sample import sample_path

_SECONDS = 6.0
_FLOOR_DB = -95.0


def draw_spectrogram(axes: Axes, path: Path, title: str) -> None:
    """Spectrogram of the first seconds with the pitch track on top."""
    audio = load_audio(path, sample_rate=24_000)
    samples = audio.samples[: int(_SECONDS * audio.sample_rate)]
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(samples, 512), 1024)[::240]
    power = np.abs(np.fft.rfft(frames * np.hanning(1024))) + 1e-9
    level = np.clip(20 * np.log10(power / power.max()), _FLOOR_DB, 0)
    extent = (0, len(samples) / audio.sample_rate, 0, audio.sample_rate / 2)
    axes.imshow(level.T, origin="lower", aspect="auto", extent=extent, cmap="magma")
    f0 = track_pitch(samples, audio.sample_rate, 480).f0_hz
    times = (np.arange(len(f0)) + 0.5) * 0.02
    axes.plot(times, np.where(f0 > 0, f0 * 10, np.nan), color="cyan", linewidth=1)
    axes.set_title(f"{title} (cyan: pitch × 10)", fontsize=9)
    axes.set_ylabel("Hz")


def draw_demo(demo: Path, out: Path) -> None:
    """The sample voice as recorded, and what `kouji demo` made of it."""
    rows = [
        (sample_path(), "the recording of the sample voice"),
        (demo / "english.wav", "kouji demo, English"),
        (demo / "chinese.wav", "kouji demo, Chinese"),
    ]
    figure, axes = plt.subplots(len(rows), 1, figsize=(10, 8), constrained_layout=True)
    for place, (path, title) in zip(axes, rows, strict=True):
        draw_spectrogram(place, path, title)
    axes[-1].set_xlabel("seconds")
    figure.savefig(out / "demo.png", dpi=80)


def read_curve(log: Path, kind: str, name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one metric of a run's log."""
    lines: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    rows = [line for line in lines if line.get("kind") == kind and name in line]
    return [row["step"] for row in rows], [row[name] for row in rows]


def draw_losses(out: Path) -> None:
    """Training and held-out losses of the shipped weights."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.5), constrained_layout=True)
    for place, run, name in zip(
        axes, ("acoustic", "vocoder"), ("mel", "log_distance"), strict=True
    ):
        for kind in ("train", "valid"):
            steps, values = read_curve(SHIPPED / f"{run}.log.jsonl", kind, name)
            place.plot(steps, values, label=kind, linewidth=1)
        place.set_title(f"{run}: {name}", fontsize=9)
        place.set_xlabel("step")
        place.set_yscale("log")
        place.legend()
    figure.savefig(out / "mini-training.png", dpi=80)


def main() -> None:
    """Draw both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"))
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    draw_demo(options.demo, options.out)
    draw_losses(options.out)


if __name__ == "__main__":
    main()
