"""Measure the watermark on real speech: false alarms, survival, level, cost.

    python benchmarks/watermark.py [--shared FOLDER] [--clips 300] [--null 3000] [--mini 20]

Other speeds take a hundred times as long to search: each third clip and each fifth unmarked
recording is enough for them. --mini adds sentences spoken by `mini` itself. Prints a table for
people and one JSON line. Real recordings stand in for synthetic speech: they are the harder case,
since their background noise hides the mark and synthesis has next to none.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from kouji.audio import watermark, watermark_finder
from kouji.audio.encode import encode_bytes
from kouji.audio.load import load_audio
from kouji.audio.resample import resample
from kouji.audio.watermark_speed import best_speed
from kouji.audio.watermark_whiten import FINDER_RATE, whiten
from kouji.types import Audio, Samples

RATE = 24_000
SECONDS = 3
SENTENCES = (
    "今天的天气很好，我们一起去公园散步吧。",
    "The quick brown fox jumps over the lazy dog near the river bank.",
    "请在下午三点以前把报告发给我，谢谢你的帮助。",
    "Every morning she walks along the quiet beach and counts the boats.",
    "这本书讲的是一个年轻人离开家乡以后的故事。",
    "He promised to call as soon as the train arrived at the station.",
)


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


def resampled(rate: int) -> Callable[[Samples], Audio]:
    """To another rate and back."""
    return lambda samples: resample(resample(Audio(samples, RATE), rate), RATE)


def at_speed(speed: float) -> Callable[[Samples], Audio]:
    """Played faster, and higher."""
    return lambda samples: Audio(soxr.resample(samples, RATE * speed, RATE), RATE)


def at_tempo(tempo: float) -> Callable[[Samples], Audio]:
    """Faster at the same pitch, by ffmpeg's overlapping pieces."""

    def attack(samples: Samples) -> Audio:
        raw = ["-f", "f32le", "-ar", str(RATE), "-ac", "1"]
        command = ["ffmpeg", "-v", "error", *raw, "-i", "-", "-af", f"atempo={tempo}", *raw, "-"]
        made = subprocess.run(command, input=samples.tobytes(), capture_output=True, check=True)
        return Audio(np.frombuffer(made.stdout, np.float32), RATE)

    return attack


def cropped(seconds: float) -> Callable[[Samples], Audio]:
    """Keep a piece from an odd place in the middle."""
    return lambda samples: Audio(samples[17_777 : 17_777 + int(seconds * RATE)], RATE)


ATTACKS: dict[str, Callable[[Samples], Audio]] = {
    "clean": lambda samples: Audio(samples, RATE),
    "mp3 64k": through("mp3", 64_000),
    "mp3 32k": through("mp3", 32_000),
    "aac 64k": through("aac", 64_000),
    "opus 32k": through("opus", 32_000),
    "opus 24k": through("opus", 24_000),
    "opus 16k": through("opus", 16_000),
    "to 16 kHz and back": resampled(16_000),
    "to 8 kHz and back": resampled(8_000),
    "at 8 kHz": lambda samples: resample(Audio(samples, RATE), 8_000),
    "gain -20 dB, inverted": lambda samples: Audio(-0.1 * samples, RATE),
    "noise at 20 dB": noisy(20),
    "noise at 30 dB": noisy(30),
    "crop of 1 s": cropped(1),
    "crop of 1 s, mp3 64k": lambda samples: through("mp3", 64_000)(cropped(1)(samples).samples),
}
SPEED_ATTACKS: dict[str, Callable[[Samples], Audio]] = {
    "speed +5 %": at_speed(1.05),
    "speed -5 %": at_speed(0.95),
    "speed +3 %, mp3 64k": lambda samples: through("mp3", 64_000)(at_speed(1.03)(samples).samples),
    "tempo +5 %, pitch kept": at_tempo(1.05),
}


def measure_null(folder: Path, num_clips: int) -> dict[str, Any]:
    """Unmarked speech: the score of every search, and every recording's verdict."""
    scores: dict[str, list[float]] = {"whole band": [], "telephone": [], "speeds": []}
    num_alarms = num_speed_alarms = num_speed_clips = 0
    for index, path in enumerate(clips(folder, num_clips, seed=1, min_seconds=1)):
        audio = load_audio(path, sample_rate=FINDER_RATE)
        peaks = [peak.score for peak in watermark_finder.window_peaks(audio.samples)]
        scores["whole band"] += peaks[0::2]
        scores["telephone"] += peaks[1::2]
        num_alarms += watermark.detect(audio, search_speeds=False).found
        if index % 5 == 0:
            num_speed_clips += 1
            num_speed_alarms += watermark.detect(audio).found
            piece = audio.samples[: 4 * FINDER_RATE]
            scores["speeds"].append(best_speed(whiten(piece), is_narrow=False).peak.score)
    return {
        "clips": num_clips,
        "false_alarms": num_alarms,
        "clips_at_all_speeds": num_speed_clips,
        "false_alarms_at_all_speeds": num_speed_alarms,
        "threshold": watermark_finder.threshold(2),
        "speed_threshold": watermark_finder.speed_threshold(),
        **{name: gumbel(values) for name, values in scores.items()},
    }


def gumbel(scores: list[float]) -> dict[str, float]:
    """The extreme-value distribution with the mean and spread of these scores."""
    scale = float(np.std(scores)) * math.sqrt(6) / math.pi
    return {
        "searches": len(scores),
        "location": float(np.mean(scores)) - 0.57722 * scale,
        "scale": scale,
        "highest": float(np.max(scores)),
    }


def spoken_by_mini(num_clips: int) -> Iterator[Samples]:
    """Unmarked sentences of the shipped model, Chinese and English in turn."""
    from kouji.api import load
    from kouji.config import Settings
    from kouji.voices.sample import sample_voice

    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), watermark=False)
        with load("mini", settings=settings, threads=1) as tts:
            voice = sample_voice()
            for index in range(num_clips):
                text = SENTENCES[index % len(SENTENCES)]
                yield tts.speak(text, voice, seed=index, watermark=False).audio.samples


def recordings(folder: Path, num_clips: int) -> Iterator[Samples]:
    """The first 3 s of real recordings."""
    for path in clips(folder, num_clips, seed=2, min_seconds=SECONDS):
        yield load_audio(path, sample_rate=RATE).samples[: SECONDS * RATE]


def measure_survival(sounds: Iterator[Samples]) -> dict[str, dict[str, float]]:
    """Mark each sound, attack, look for the mark and its number."""
    rng = np.random.default_rng(2)
    results: dict[str, list[tuple[bool, bool, float]]] = {}
    snr, quality = [], []
    for index, speech in enumerate(sounds):
        payload = int(rng.integers(1 << 32))
        marked = watermark.embed(speech, RATE, payload)
        snr.append(10 * math.log10((speech**2).sum() / ((marked - speech) ** 2).sum()))
        if index % 4 == 0:  # a clip takes PESQ longer than all the rest
            quality.append(wideband_pesq(speech, marked))
        if len(snr) % 20 == 0:
            print(f"{len(snr)} clips", file=sys.stderr, flush=True)
        for name, attack in (ATTACKS | (SPEED_ATTACKS if index % 3 == 0 else {})).items():
            found = watermark.detect(attack(marked), search_speeds=name in SPEED_ATTACKS)
            row = found.found, found.payload == payload, found.score
            results.setdefault(name, []).append(row)
            if found.payload not in (None, payload):
                print(f"wrong number after {name}: clip {index}")
    table = {
        name: {
            "clips": len(rows),
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


def print_survival(title: str, survival: dict[str, dict[str, float]]) -> None:
    """One line an attack, and the level of the mark."""
    print(f"{title:24} {'found':>8} {'number':>8} {'score':>7} {'lowest':>7} {'clips':>6}")
    for name, row in survival.items():
        if name != "_level":
            shares = f"{row['found']:8.1%} {row['number']:8.1%}"
            print(f"{name:24} {shares} {row['score']:7.1f} {row['lowest']:7.1f} {row['clips']:6}")
    print("level: " + ", ".join(f"{name} {it:.4g}" for name, it in survival["_level"].items()))


def main() -> None:
    default = os.environ.get("KOUJI_SHARED", Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--null", type=int, default=1000)
    parser.add_argument("--mini", type=int, default=0)
    options = parser.parse_args()
    facts: dict[str, Any] = {"benchmark": "watermark", "seconds": SECONDS}
    facts["machine"] = f"{platform.machine()}, {os.cpu_count()} cores"
    facts["cost_ms"] = {f"{seconds:g} s": measure_cost(seconds) for seconds in (0.1, 0.5, 10)}
    print(f"ms per audio second: {rounded(facts['cost_ms'])}", flush=True)
    if options.mini:
        facts["mini"] = measure_survival(spoken_by_mini(options.mini))
        print_survival("spoken by mini, after", facts["mini"])
    if options.clips:
        facts["survival"] = measure_survival(recordings(options.shared, options.clips))
        print_survival("recordings, after", facts["survival"])
    if options.null:
        facts["null"] = measure_null(options.shared, options.null)
        print(f"unmarked speech: {rounded(facts['null'])}")
    print(json.dumps(rounded(facts)))


if __name__ == "__main__":
    main()
