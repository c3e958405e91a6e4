"""Measure the watermark on real speech: false alarms, survival, level, cost.

    python benchmarks/watermark.py [--shared FOLDER] [--clips 200] [--null 1000]

Prints a table for people and one JSON line. Real recordings stand in for synthetic speech: they are
the harder case, since their background noise hides the mark and synthesis has next to none.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kouji.audio import watermark
from kouji.audio.encode import encode_bytes
from kouji.audio.load import load_audio
from kouji.audio.resample import resample
from kouji.types import Audio, Samples

RATE = 24_000
SECONDS = 3


def clips(folder: Path, num_clips: int, seed: int, min_seconds: float) -> Iterator[Path]:
    """Paths of recordings in a fixed random order."""
    manifest = folder / "corpus" / "speech" / "manifest.csv"
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    names = [row["path"] for row in rows if float(row["duration_s"]) >= min_seconds]
    np.random.default_rng(seed).shuffle(names)
    yield from (manifest.parent / name for name in names[:num_clips])


def through(format: str, bit_rate: int) -> Callable[[Samples], Audio]:
    """Encode and decode again."""

    def attack(samples: Samples) -> Audio:
        data = encode_bytes(Audio(samples, RATE), format, bit_rate=bit_rate)
        return load_audio(data)

    return attack


def noisy(level_db: float) -> Callable[[Samples], Audio]:
    """Add white noise at `level_db` below the speech."""

    def attack(samples: Samples) -> Audio:
        rng = np.random.default_rng(len(samples))
        scale = math.sqrt(float((samples**2).mean())) * 10 ** (-level_db / 20)
        return Audio((samples + scale * rng.standard_normal(len(samples))).astype("f4"), RATE)

    return attack


def to_16k(samples: Samples) -> Audio:
    return resample(Audio(samples, RATE), 16_000)


def cropped(seconds: float) -> Callable[[Samples], Audio]:
    """Keep a piece from an odd place in the middle."""
    return lambda samples: Audio(samples[17_777 : 17_777 + int(seconds * RATE)], RATE)


ATTACKS: dict[str, Callable[[Samples], Audio]] = {
    "clean": lambda samples: Audio(samples, RATE),
    "mp3 64k": through("mp3", 64_000),
    "mp3 32k": through("mp3", 32_000),
    "aac 64k": through("aac", 64_000),
    "opus 32k": through("opus", 32_000),
    "opus 16k": through("opus", 16_000),
    "resampled to 16 kHz": to_16k,
    "mp3 64k, then 16 kHz": lambda samples: resample(through("mp3", 64_000)(samples), 16_000),
    "gain -20 dB, inverted": lambda samples: Audio(-0.1 * samples, RATE),
    "noise at 20 dB": noisy(20),
    "noise at 30 dB": noisy(30),
    "crop of 1 s": cropped(1),
    "crop of 1 s, mp3 64k": lambda samples: through("mp3", 64_000)(cropped(1)(samples).samples),
}


def measure_null(folder: Path, num_clips: int) -> dict[str, float]:
    """Scores of unmarked speech: every window, and every recording's verdict."""
    scores, num_alarms, num_done = [], 0, 0
    for path in clips(folder, num_clips, seed=1, min_seconds=1):
        audio = load_audio(path, sample_rate=16_000)
        scores += [
            watermark._search(lines).score for lines in watermark._window_lines(audio.samples)
        ]
        num_alarms += watermark.detect(audio).found
        num_done += 1
    spread = float(np.std(scores)) * math.sqrt(6) / math.pi
    return {
        "clips": num_done,
        "windows": len(scores),
        "false_alarms": num_alarms,
        "gumbel_location": float(np.mean(scores)) - 0.57722 * spread,
        "gumbel_scale": spread,
        "highest": float(np.max(scores)),
        "threshold": watermark.threshold(),
    }


def measure_survival(folder: Path, num_clips: int) -> dict[str, dict[str, float]]:
    """Mark 3 s of each clip, attack, look for the mark and its number."""
    rng = np.random.default_rng(2)
    results: dict[str, list[tuple[bool, bool, float]]] = {name: [] for name in ATTACKS}
    snr, quality = [], []
    for path in clips(folder, num_clips, seed=2, min_seconds=SECONDS):
        speech = load_audio(path, sample_rate=RATE).samples[: SECONDS * RATE]
        payload = int(rng.integers(1 << 32))
        marked = watermark.embed(speech, RATE, payload)
        snr.append(10 * math.log10((speech**2).sum() / ((marked - speech) ** 2).sum()))
        if len(snr) % 4 == 1:  # a clip takes PESQ longer than all the rest
            quality.append(wideband_pesq(speech, marked))
        if len(snr) % 20 == 0:
            print(f"{len(snr)} clips", file=sys.stderr, flush=True)
        for name, attack in ATTACKS.items():
            found = watermark.detect(attack(marked))
            results[name].append((found.found, found.payload == payload, found.score))
            if found.payload not in (None, payload):
                print(f"wrong number after {name}: {path.name}")
    table = {
        name: {
            "found": float(np.mean([row[0] for row in rows])),
            "number": float(np.mean([row[1] for row in rows])),
            "score": float(np.median([row[2] for row in rows])),
            "lowest": float(np.min([row[2] for row in rows])),
        }
        for name, rows in results.items()
    }
    table["_level"] = {
        "clips": len(snr),
        "snr_db": float(np.median(snr)),
        "snr_db_lowest": float(np.min(snr)),
        "pesq_clips": len(quality),
        "pesq_wb": float(np.nanmedian(quality)),
        "pesq_wb_5_percent": float(np.nanquantile(quality, 0.05)),
    }
    return table


def wideband_pesq(speech: Samples, marked: Samples) -> float:
    """PESQ (ITU-T P.862.2) of the marked clip; NaN where the package is missing or finds none."""
    try:
        import pesq
    except ImportError:
        return math.nan
    pair = [resample(Audio(samples, RATE), 16_000).samples for samples in (speech, marked)]
    try:
        return float(pesq.pesq(16_000, *pair, "wb"))
    except pesq.PesqError:
        return math.nan


def measure_cost(chunk_seconds: float) -> float:
    """Processor milliseconds a second of audio at 24 kHz, in chunks as a stream comes."""
    speech = np.random.default_rng(3).standard_normal(RATE * 60).astype(np.float32) * 0.1
    num_chunk = int(chunk_seconds * RATE)
    best = math.inf
    for _ in range(3):
        state = watermark.EmbedState(RATE, 1)
        start = time.process_time()
        for at in range(0, len(speech), num_chunk):
            watermark.embed(speech[at : at + num_chunk], RATE, 1, state)
        best = min(best, (time.process_time() - start) / 60 * 1000)
    return best


def rounded(value: Any) -> Any:
    """Every float in nested dicts with four digits behind the point."""
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    default = os.environ.get("KOUJI_SHARED", Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--null", type=int, default=1000)
    options = parser.parse_args()
    cost = {f"{seconds:g} s": measure_cost(seconds) for seconds in (0.1, 0.5, 10)}
    survival = measure_survival(options.shared, options.clips)
    null = measure_null(options.shared, options.null)
    level = survival.pop("_level")
    print(f"{'after':24} {'found':>8} {'number':>8} {'score':>7} {'lowest':>7}")
    for name, row in survival.items():
        shares = f"{row['found']:8.1%} {row['number']:8.1%}"
        print(f"{name:24} {shares} {row['score']:7.1f} {row['lowest']:7.1f}")
    for title, facts in (
        ("level", level),
        ("unmarked speech", null),
        ("ms per audio second", cost),
    ):
        print(f"{title}: " + ", ".join(f"{name} {value:.4g}" for name, value in facts.items()))
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    facts = {"benchmark": "watermark", "machine": machine, "seconds": SECONDS}
    facts |= {"survival": survival, "level": level, "null": null, "cost_ms": cost}
    print(json.dumps(rounded(facts)))


if __name__ == "__main__":
    main()
