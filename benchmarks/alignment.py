"""How exact is `kouji align`? Measured on speech that says itself where its phones end.

    python benchmarks/alignment.py [--data FOLDER] [--sentences 200] [--voices slt rms awb]

flite speaks sentences and prints the end of each of its phones. A folder of them goes through
the same two functions as any data set, `prepare_data` and `align_store`, and boundaries between
phones that both sides have are compared. The aligner knows nothing but these clips. Its phones
come from our own front end, so pronunciations differ here and there: such places are counted in
`matched`, not in the deviations. Prints a table for people and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kouji.text.phones import SYMBOLS, is_silence
from kouji.train.align import align_store
from kouji.train.layouts import read_clips
from kouji.train.prepare import PrepareSettings, prepare_data
from kouji.train.store import Store

PAUSE = "pau"
# flite writes a schwa of its own where ours, as CMUdict does, writes an unstressed AH.
OURS = {"ax": "AH", "axr": "ER", PAUSE: PAUSE}
# Clustergen voices (slt, rms, awb) cut a file at whole frames of 5 ms and so agree with their list
# of phones. Diphone voices (kal, kal16) join pieces of recordings in whole pitch periods: their
# list is a plan, and 111 to 124 ms longer than the sound.
EXACT_SECONDS = 0.010


class Span(NamedTuple):
    """A phone (ARPAbet without stress) or PAUSE, and where it lies in seconds of the file."""

    symbol: str
    start: float
    end: float


class Boundary(NamedTuple):
    """One place where both sides pass from one phone to the next, in seconds of the file."""

    voice: str
    ours: float
    flite: float
    is_beside_pause: bool


@dataclass
class Tally:
    """What came of the clips of one voice: phones of ours, those flite has too, boundaries."""

    num_phones: int
    num_matched: int
    boundaries: list[Boundary]


def read_sentences(data: Path | None, count: int) -> list[str]:
    """English transcripts in a fixed random order: of LibriSpeech in `data`, or of our test set."""
    if data is None:
        lines = (Path(__file__).parent / "sets" / "en.jsonl").read_text("utf-8").splitlines()
        texts = [json.loads(line)["text"] for line in lines]
    else:
        clips = read_clips(data)[1]
        english = [clip for clip in clips if clip.language == "en" and clip.text]
        libri = [clip for clip in english if clip.corpus == "librispeech"]
        texts = [clip.text for clip in libri or english]
    return random.Random(7).sample(texts, min(count, len(texts)))


def speak(text: str, voice: str, path: Path) -> list[Span]:
    """Let flite speak into `path`; its phones, or none if they do not fit the file it wrote."""
    command = ["flite", "-voice", voice, "-psdur", "-t", text, "-o", str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    spans, start = [], 0.0
    for entry in printed:  # such as "ax:0.304": a phone and the second it ends at
        name, _, end = entry.rpartition(":")
        spans.append(Span(OURS.get(name, name.upper()), start, float(end)))
        start = float(end)
    with wave.open(str(path)) as file:
        seconds = file.getnframes() / file.getframerate()
    return join_pauses(spans) if abs(start - seconds) <= EXACT_SECONDS else []


def speak_all(texts: Sequence[str], voices: Sequence[str], folder: Path) -> dict[str, list[Span]]:
    """Speak the sentences with the voices in turn, as layout "pairs"; flite's phones by clip id."""
    truth = {}
    for number, text in enumerate(texts):
        voice = voices[number % len(voices)]
        path = folder / voice / f"{number:04}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        spans = speak(text, voice, path)
        if not spans:
            path.unlink()
            continue
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
        truth[f"{voice}/{path.stem}"] = spans
    return truth


def aligned_spans(store: Store, index: int) -> list[Span]:
    """Our phones of one clip with their places in the file; none if no path was found.

    Time in the store is time in the file: `prepare` pads its end alone, and frame t is centred
    at (t + 0.5) hops, so that what begins with frame t begins at t hops.
    """
    hop = store.hop_length / store.sample_rate  # seconds
    ends = np.cumsum(store.array("aligned_durations", index), dtype=np.int64) * hop
    starts = np.concatenate([[0.0], ends])
    symbols = [SYMBOLS[each] for each in store.array("aligned_symbols", index)]
    return join_pauses(
        Span(PAUSE if is_silence(symbol) else symbol, float(start), float(end))
        for symbol, start, end in zip(symbols, starts, ends, strict=False)
        if end > start  # an edge that was not heard
    )


def join_pauses(spans: Sequence[Span] | Iterator[Span]) -> list[Span]:
    """The spans with pauses that follow each other made one."""
    joined: list[Span] = []
    for span in spans:
        if joined and span.symbol == PAUSE == joined[-1].symbol:
            span = joined.pop()._replace(end=span.end)
        joined.append(span)
    return joined


def match(ours: Sequence[Span], theirs: Sequence[Span]) -> list[tuple[int, int]]:
    """Pairs of places with the same symbol along the path of least edit distance."""
    cost = np.zeros((len(ours) + 1, len(theirs) + 1), np.int64)
    cost[:, 0], cost[0] = np.arange(len(ours) + 1), np.arange(len(theirs) + 1)
    for i, own in enumerate(ours, 1):
        for j, other in enumerate(theirs, 1):
            swap = cost[i - 1, j - 1] + (own.symbol != other.symbol)
            cost[i, j] = min(swap, cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    pairs: list[tuple[int, int]] = []
    i, j = len(ours), len(theirs)
    while i and j:
        is_same = ours[i - 1].symbol == theirs[j - 1].symbol
        if cost[i, j] == cost[i - 1, j - 1] + (not is_same):
            i, j = i - 1, j - 1
            if is_same:
                pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def compare(ours: Sequence[Span], theirs: Sequence[Span], voice: str, tally: Tally) -> None:
    """Count one clip in: a boundary needs the phones of both its sides in both lists."""
    pairs = match(ours, theirs)
    tally.num_phones += sum(span.symbol != PAUSE for span in ours)
    tally.num_matched += sum(ours[i].symbol != PAUSE for i, _ in pairs)
    known = set(pairs)
    for i, j in pairs:
        if (i + 1, j + 1) in known:
            is_beside_pause = PAUSE in (ours[i].symbol, ours[i + 1].symbol)
            tally.boundaries.append(Boundary(voice, ours[i].end, theirs[j].end, is_beside_pause))


def figures(deviations: NDArray[np.float64]) -> dict[str, float]:
    """A row of the table. deviations: (boundaries,) seconds, above 0 where ours is late."""
    ms = np.round(1000 * deviations, 3)  # flite prints whole ms: 20 shall not become 20.000001
    size = np.abs(ms)
    return {
        "boundaries": len(ms),
        "mean_ms": round(float(size.mean()), 1),
        "median_ms": round(float(np.median(size)), 1),
        "within_20_ms_%": round(100 * float((size <= 20).mean()), 1),
        "within_40_ms_%": round(100 * float((size <= 40).mean()), 1),
        "mean_lateness_ms": round(float(ms.mean()), 1),
        "median_lateness_ms": round(float(np.median(ms)), 1),
    }


def table(tallies: dict[str, Tally], hop_seconds: float) -> list[dict[str, Any]]:
    """All boundaries, those of each voice and kind, and what limits or shifts them."""
    every = [boundary for tally in tallies.values() for boundary in tally.boundaries]
    flite = np.array([boundary.flite for boundary in every])
    late = np.array([boundary.ours for boundary in every]) - flite
    voices = np.array([boundary.voice for boundary in every])
    beside = np.array([boundary.is_beside_pause for boundary in every])
    nearest = np.round(flite / hop_seconds) * hop_seconds

    def share(of: Sequence[Tally]) -> float:
        total = sum(tally.num_phones for tally in of)
        return round(100 * sum(tally.num_matched for tally in of) / max(total, 1), 1)

    rows: list[dict[str, Any]] = [
        {"of": "all", "matched_%": share(list(tallies.values())), **figures(late)}
    ]
    for voice, tally in tallies.items():
        rows.append({"of": voice, "matched_%": share([tally]), **figures(late[voices == voice])})
    rows += [
        {"of": "between phones", **figures(late[~beside])},
        {"of": "beside a pause", **figures(late[beside])},
        {"of": "median lateness taken out", **figures(late - np.median(late))},
        {"of": "nearest frame (the best possible)", **figures(nearest - flite)},
    ]
    return rows


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Speak, prepare, align and compare; prints the table, returns what the JSON line says."""
    began = time.monotonic()
    texts = read_sentences(options.data, options.sentences)
    truth = speak_all(texts, options.voices, folder / "spoken")
    if not truth:
        sys.exit("no voice agrees with its own list of phones; take slt, rms or awb")
    spoken = time.monotonic()
    print(f"{len(truth)} of {len(texts)} sentences spoken", file=sys.stderr, flush=True)
    made = prepare_data(folder / "spoken", folder / "store", PrepareSettings(num_workers=0))
    prepared = time.monotonic()
    report = align_store(made.store.path, say=lambda line: print(line, file=sys.stderr, flush=True))
    store = Store(made.store.path)
    tallies: dict[str, Tally] = {voice: Tally(0, 0, []) for voice in options.voices}
    for index, clip in enumerate(store.clips):
        ours = aligned_spans(store, index)
        compare(ours, truth[clip.id], clip.speaker, tallies[clip.speaker])
    tallies = {voice: tally for voice, tally in tallies.items() if tally.boundaries}
    rows = table(tallies, store.hop_length / store.sample_rate)
    print_rows(rows)
    return {
        "benchmark": "alignment",
        "commit": commit(),
        "text_set": "sets/en.jsonl" if options.data is None else "librispeech",
        "sentences": len(texts),
        "not_exact": len(texts) - len(truth),
        "refused": dict(Counter(skip.reason for skip in made.skipped)),
        "clips": len(store),
        "failed": report.failed,
        "minutes_of_sound": round(sum(clip.seconds for clip in store.clips) / 60, 1),
        "one_frame_phones_%": round(100 * report.at_minimum, 1),
        "frame_ms": 1000 * store.hop_length / store.sample_rate,
        "seconds": {
            "speak": round(spoken - began),
            "prepare": round(prepared - spoken),
            "align": round(report.seconds),
        },
        "rows": rows,
    }


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """The table; columns are those of the first row, and empty where a row has none."""
    lines = [list(rows[0]), *([str(row.get(name, "")) for name in rows[0]] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def commit() -> str:
    """The commit that was measured, empty outside of a checkout."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    here = Path(__file__).parent
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=here)
    return found.stdout.strip()


def main() -> None:
    """Measure in a folder that is dropped afterwards, or in one to be kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="corpus with LibriSpeech; default: 40 sentences")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--voices", nargs="+", default=["slt", "rms", "awb"])
    parser.add_argument("--keep", type=Path, help="a new folder for the sound and the store")
    options = parser.parse_args()
    if shutil.which("flite") is None:
        sys.exit("flite is not installed")
    if options.keep and options.keep.exists():  # clips of an older run would be prepared as well
        sys.exit(f"{options.keep} exists; name a new folder")
    with tempfile.TemporaryDirectory() as scratch:
        facts = measure(options, options.keep or Path(scratch))
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
