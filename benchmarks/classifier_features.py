"""Measure feature extraction of 1,000 clips: one process against the parallel command.

    python benchmarks/classifier_features.py [--sounds FOLDER] [--clips 1000] [--repeats 3]

Both decode, resample to 22,050 Hz and store samples and log-mels, as `kouji classify prepare
--features` does with --jobs 1 and with one process per core; they take turns, each time from
nothing. One thread a process. Without --sounds, clips of five seconds are made up (tones in
noise, 44.1 kHz Ogg, as the collections have them). Prints a table for people and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from kouji.train.clip_workers import usable_cores

RATE = 44_100
COMMAND = """
import sys, time
import torch  # the tables of the mel come from it: not to be timed
torch.set_num_threads(1)
from kouji.train.sound_store import Wanted, prepare_sounds
wanted = Wanted(22050, {"n_fft": 1024, "hop_length": 512, "num_mels": 64})
started = time.perf_counter()
clips = prepare_sounds(sys.argv[1], sys.argv[2], wanted, jobs=int(sys.argv[3]))
print(len(clips), time.perf_counter() - started)
"""


def make_clips(folder: Path, num_clips: int) -> None:
    """Write made-up clips of ten classes."""
    times = np.arange(5 * RATE) / RATE
    for number in range(num_clips):
        rng = np.random.default_rng(number)
        label = number % 10
        sound = 0.3 * np.sin(2 * np.pi * 200 * (label + 1) * times)
        sound += 0.1 * rng.standard_normal(len(times))
        path = folder / f"class{label}" / f"{number}.ogg"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sound.astype(np.float32), RATE)


def link_clips(sounds: Path, folder: Path, num_clips: int) -> None:
    """Choose `num_clips` of a collection, evenly over all."""
    files = sorted(
        path for path in sounds.rglob("*") if path.suffix in (".wav", ".ogg", ".flac", ".mp3")
    )
    if len(files) < num_clips:
        raise SystemExit(f"{sounds} has {len(files)} clips, {num_clips} are needed")
    for number in range(num_clips):
        path = files[number * len(files) // num_clips]
        place = folder / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path.resolve())


def extract(data: Path, jobs: int) -> float:
    """Seconds of one extraction in a fresh process, into a folder of its own."""
    with tempfile.TemporaryDirectory() as store:
        shown = subprocess.run(
            [sys.executable, "-c", COMMAND, str(data), store, str(jobs)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    return float(shown.stdout.split()[1])


def main() -> None:
    """Take turns and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sounds", type=Path)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one per core")
    options = parser.parse_args()
    jobs = options.jobs or usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        if options.sounds:
            link_clips(options.sounds, data, options.clips)
        else:
            make_clips(data, options.clips)
        one, many = [], []
        for _ in range(options.repeats):
            one.append(extract(data, 1))
            many.append(extract(data, jobs))
    facts = {
        "benchmark": "classifier_features",
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip(),
        "machine": platform.machine(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2),
        "clips": options.clips,
        "source": "collection" if options.sounds else "made up",
        "processes": jobs,
        "one_process_s": round(statistics.median(one), 3),
        "parallel_s": round(statistics.median(many), 3),
        "ratio": round(statistics.median(one) / statistics.median(many), 3),
    }
    print(f"{'':22}{'seconds':>9}{'clips/s':>9}")
    for name, seconds in (
        ("one process", facts["one_process_s"]),
        (f"{jobs} processes", facts["parallel_s"]),
    ):
        print(f"{name:22}{seconds:9.2f}{options.clips / seconds:9.1f}")
    print(f"{facts['ratio']:.2f} x as fast, medians of {options.repeats}, load {facts['load']}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
