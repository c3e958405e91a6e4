"""How fast `mini` speaks on this machine, beside espeak-ng and flite in the same run.

    python benchmarks/mini.py [--runs 5] [--threads 2] [--precision bfloat16] [--voice FILE]

Prints a table and, as its last line, one JSON object with commit, hardware, dtype and
threads. Figures are medians; run it on an idle machine, others' work shows in them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# About ten and five seconds of speech at an ordinary rate.
LONG_TEXT = (
    "The evening train was late again, so we left the station and walked along the river, "
    "talking about the long summers by the sea when we were young and had nothing to do."
)
SHORT_TEXT = "The evening train was late again, so we left the station and walked home in the rain."
BATCHES = (1, 4, 16)
READERS = {
    "espeak-ng": ["espeak-ng", "-v", "en-us", "-w", "{out}", "{text}"],
    "flite": ["flite", "-voice", "slt", "-t", "{text}", "-o", "{out}"],
}


@dataclass(frozen=True)
class Figures:
    """One row: medians; None where a program cannot be measured that way."""

    name: str
    real_time_factor: float
    speech_seconds: float
    first_audio_ms: float | None = None
    cold_start_s: float | None = None
    peak_memory_mb: float | None = None


def main() -> None:
    """Measure, print the table, print the JSON line."""
    options = parse_options()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # of this process and its children
    with tempfile.TemporaryDirectory() as folder:
        voice_file = options.voice or make_reference(Path(folder))
        rows, throughput, dtype = measure_kouji(options, voice_file, Path(folder))
        for name, command in READERS.items():
            if shutil.which(name) is None:
                print(f"{name} is not installed: skipped (Debian: apt install {name})")
            else:
                rows.append(measure_reader(name, command, options.runs, Path(folder)))
    print_table(rows, throughput, options.threads, dtype)
    print(json_line(rows, throughput, options.threads, dtype))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--voice", type=Path, help="reference recording; default: made by flite")
    return parser.parse_args()


def make_reference(folder: Path) -> Path:
    """Let flite or espeak-ng speak a reference, so that the benchmark needs no recording."""
    out = folder / "reference.wav"
    for name, command in READERS.items():
        if shutil.which(name) is not None:
            run_reader(command, LONG_TEXT, out)
            return out
    sys.exit("give a reference recording with --voice: neither flite nor espeak-ng is installed")


def measure_kouji(
    options: argparse.Namespace, voice_file: Path, folder: Path
) -> tuple[list[Figures], dict[int, float], str]:
    """The row of mini, its throughput per batch in speech seconds a second, and its dtype."""
    # First, while this process is small: Linux counts the memory of the process that starts
    # another towards the peak of the one started.
    colds = [cold_start(voice_file, folder, options) for _ in range(options.runs)]
    import torch

    import kouji

    torch.set_num_threads(options.threads)
    from kouji.models.precision import choose_precision, read_device_facts

    asked = None if options.precision == "auto" else options.precision
    dtype = choose_precision(read_device_facts("cpu"), asked).precision
    tts = kouji.load("mini", precision=dtype, device="cpu")
    voice = tts.enroll(voice_file)
    speech = tts.speak(LONG_TEXT, voice).audio.duration
    next(iter(tts.stream(LONG_TEXT, voice)))
    spoken = median_of(options.runs, lambda: tts.speak(LONG_TEXT, voice))
    first = median_of(options.runs, lambda: next(iter(tts.stream(LONG_TEXT, voice))))
    throughput = {size: measure_batch(tts, voice, size, options.runs) for size in BATCHES}
    row = Figures(
        "kouji mini",
        spoken / speech,
        speech,
        first * 1000,
        statistics.median(seconds for seconds, _ in colds),
        max(megabytes for _, megabytes in colds),
    )
    return [row], throughput, dtype


def measure_batch(tts: Any, voice: Any, size: int, runs: int) -> float:
    """Seconds of speech made per second when `size` requests are spoken together."""
    from kouji.api import SpeechRequest

    requests = [SpeechRequest(SHORT_TEXT, voice)] * size
    speech: float = sum(result.audio.duration for result in tts.speak_many(requests))
    return speech / median_of(runs, lambda: tts.speak_many(requests))


def cold_start(voice: Path, folder: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Start `kouji say` as a user does: seconds until the file is there, and peak memory in MB."""
    out = folder / "cold.wav"
    out.unlink(missing_ok=True)
    say = [sys.executable, "-m", "kouji", "say", SHORT_TEXT, "--voice", str(voice)]
    command = [*say, "--out", str(out), "--precision", options.precision]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read() if process.stderr else b""
    # wait4 gives the peak of this child alone, also where there is no /proc.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0 or not out.exists():
        sys.exit(f"kouji say failed: {error.decode(errors='replace').strip()}")
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    return seconds, usage.ru_maxrss * unit / 1e6


def measure_reader(name: str, command: list[str], runs: int, folder: Path) -> Figures:
    """A program that is started anew for each text: its cold start is its only start."""
    out = folder / f"{name}.wav"
    run_reader(command, LONG_TEXT, out)
    speech = wav_seconds(out)
    seconds = median_of(runs, lambda: run_reader(command, LONG_TEXT, out))
    cold = median_of(runs, lambda: run_reader(command, SHORT_TEXT, out))
    return Figures(name, seconds / speech, speech, cold_start_s=cold)


def run_reader(command: list[str], text: str, out: Path) -> None:
    """Let a speech program write `text` as speech to `out`."""
    filled = [part.format(text=text, out=out) for part in command]
    subprocess.run(filled, check=True, capture_output=True)


def wav_seconds(path: Path) -> float:
    """Length of a sound file."""
    import soundfile

    return float(soundfile.info(path).duration)


def median_of(runs: int, work: Callable[[], object]) -> float:
    """Median seconds of `runs` calls."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def print_table(
    rows: list[Figures], throughput: dict[int, float], threads: int, dtype: str
) -> None:
    """The figures for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    title = f"mini in {dtype}, {threads} threads, medians"
    headings = ("speech s", "RTF", "first audio ms", "cold start s", "peak MB")
    table = Table("", *headings, title=title)
    for row in rows:
        wait = (row.first_audio_ms, row.cold_start_s)
        cells = (row.speech_seconds, row.real_time_factor, *wait, row.peak_memory_mb)
        formats = ("{:.1f}", "{:.4f}", "{:.0f}", "{:.2f}", "{:.0f}")
        shown = [
            "-" if value is None else form.format(value)
            for form, value in zip(formats, cells, strict=True)
        ]
        table.add_row(row.name, *shown)
    console.print(table)
    for size, rate in throughput.items():
        console.print(f"batch {size}: {rate:.1f} seconds of speech per second")


def json_line(rows: list[Figures], throughput: dict[int, float], threads: int, dtype: str) -> str:
    """The figures for machines."""
    from kouji.evaluate.report import describe_run

    record = {
        **describe_run(dtype, threads),
        "benchmark": "mini",
        "systems": {
            row.name: {k: v for k, v in vars(row).items() if k != "name" and v is not None}
            for row in rows
        },
        "speech_seconds_per_second": {str(size): rate for size, rate in throughput.items()},
    }
    return json.dumps(record)


if __name__ == "__main__":
    main()
