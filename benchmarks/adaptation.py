"""What a minute teaches: voices as `kouji finetune` keeps them, against the same voices unadapted.

    python benchmarks/adaptation.py --data CORPUS/speech [--speakers ls-32,...] [--sentences 10]

For each speaker about a minute of recordings is joined and learned by the command itself, with
its transcript; the same minute is enrolled as it is. Then sentences whose recordings were held
back are spoken by both. Cosines (an independent encoder) are to the mean of those recordings,
beside that of every other speaker of the same sex; word errors are pocketsphinx's. Prints a table
for people and one JSON line. Speakers are of the test split: none was ever trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import kouji
from kouji.api import TTS
from kouji.audio.encode import save_audio
from kouji.audio.load import load_audio
from kouji.config import load_settings
from kouji.evaluate.asr_en import EnglishRecogniser
from kouji.evaluate.similarity import SpeakerEncoder, cosine
from kouji.evaluate.wer import spoken_words
from kouji.text.edits import Errors, count_errors, pool
from kouji.types import Audio
from kouji.voices import VoiceStore

SPEAKERS = "ls-32,ls-5789,ls-1970,ls-6848,ls-1867,ls-7312"
GAP_SECONDS = 0.4  # between the recordings of a minute
SHORTEST, LONGEST = 20, 230  # characters of a held-back sentence
Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Row:
    """A recording of the corpus."""

    path: Path
    gender: str
    text: str
    seconds: float


@dataclass(frozen=True)
class Said:
    """A sentence spoken by a voice: cosines to the own mean and to others', and word errors."""

    own: float
    others: tuple[float, ...]
    errors: Errors


def read_rows(data: Path, speaker: str) -> list[Row]:
    """The recordings of a speaker, in the order of the corpus."""
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return [
            Row(data / row["path"], row["gender"], row["text"], float(row["duration_s"]))
            for row in csv.DictReader(file, delimiter="|")
            if row["speaker"] == speaker
        ]


def split(rows: list[Row], sentences: int, seconds: float) -> tuple[list[Row], list[Row]]:
    """(recordings of the minute, recordings held back): the shorter sentences are held back."""
    fitting = [row for row in rows if SHORTEST <= len(row.text) <= LONGEST]
    held = sorted(fitting, key=lambda row: (len(row.text), row.path.name))[:sentences]
    minute: list[Row] = []
    total = 0.0
    for row in rows:
        if row not in held and total + row.seconds + GAP_SECONDS <= seconds:
            minute.append(row)
            total += row.seconds + GAP_SECONDS
    return minute, held


def join(rows: list[Row]) -> Audio:
    """The recordings one after the other, with short silences."""
    pieces: list[NDArray[np.float32]] = []
    for row in rows:
        audio = load_audio(row.path)
        pieces += [audio.samples, np.zeros(round(GAP_SECONDS * audio.sample_rate), np.float32)]
    return Audio(np.concatenate(pieces), audio.sample_rate)


def keep_voices(home: Path, name: str, minute: list[Row], model: str) -> float:
    """Enrol the minute as NAME-plain and learn it as NAME-adapted; seconds of the learning."""
    audio = home / f"{name}.wav"
    save_audio(join(minute), audio)
    text = ". ".join(row.text for row in minute) + "."
    command = [sys.executable, "-m", "kouji"]
    run([*command, "voice", "add", f"{name}-plain", str(audio), "--attest"], home)
    start = time.perf_counter()
    learn = ["finetune", model, "--data", str(audio), "--transcript", text, "--attest"]
    run([*command, *learn, "--out", f"{name}-adapted"], home)
    return time.perf_counter() - start


def run(command: list[str], home: Path) -> None:
    environment = {**os.environ, "KOUJI_HOME": str(home)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{command[3]} failed: {ended.stderr[-500:]}")


def main() -> None:
    """Measure all speakers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="mini", help="mini, or a folder of weights")
    parser.add_argument("--speakers", default=SPEAKERS)
    parser.add_argument("--sentences", type=int, default=10, help="of each speaker, held back")
    parser.add_argument("--seconds", type=float, default=60.0, help="of speech to learn from")
    options = parser.parse_args()
    names = options.speakers.split(",")
    rows = {name: read_rows(options.data, name) for name in names}
    parts = {name: split(rows[name], options.sentences, options.seconds) for name in names}
    encoder, recogniser = SpeakerEncoder(), EnglishRecogniser()
    means = {name: mean_voice(encoder, held) for name, (_, held) in parts.items()}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for name in names:
            minute, held = parts[name]
            seconds = keep_voices(home, name, minute, options.model)
            rivals = [means[n] for n in names if n != name and is_same_sex(rows, n, name)]
            said = {}
            os.environ["KOUJI_HOME"] = folder
            with kouji.load(options.model, settings=load_settings()) as tts:
                for kind in ("plain", "adapted"):
                    voice = f"{name}-{kind}"
                    said[kind] = speak_all(
                        tts, home, voice, held, means[name], rivals, encoder, recogniser
                    )
            heard = [recogniser.transcribe(load_audio(row.path)) for row in held]
            real = pool(
                count_errors(spoken_words(row.text), words)
                for row, words in zip(held, heard, strict=True)
            )
            results.append(summary(name, minute, seconds, said, real.rate))
            print_row(results[-1])
    print_total(results)
    print(json.dumps({"benchmark": "adaptation", "model": options.model, "speakers": results}))


def is_same_sex(rows: dict[str, list[Row]], first: str, second: str) -> bool:
    return rows[first][0].gender == rows[second][0].gender


def mean_voice(encoder: SpeakerEncoder, rows: list[Row]) -> Vector:
    """Mean embedding of the recordings."""
    found = [encoder.embed(load_audio(row.path)) for row in rows]
    return np.mean([vector for vector in found if vector is not None], axis=0, dtype=np.float32)


def speak_all(
    tts: TTS,
    home: Path,
    name: str,
    held: list[Row],
    own: Vector,
    rivals: list[Vector],
    encoder: SpeakerEncoder,
    recogniser: EnglishRecogniser,
) -> list[Said]:
    """All held-back sentences by one voice."""
    voice = VoiceStore(home).get(name)
    said = []
    for row in held:
        audio = tts.speak(row.text, voice, seed=1).audio
        vector = encoder.embed(audio)
        if vector is None:
            raise SystemExit(f"{name} said nothing: {row.text}")
        others = tuple(cosine(vector, rival) for rival in rivals)
        errors = count_errors(spoken_words(row.text), recogniser.transcribe(audio))
        said.append(Said(cosine(vector, own), others, errors))
    return said


def summary(
    name: str, minute: list[Row], seconds: float, said: dict[str, list[Said]], real: float
) -> dict[str, object]:
    """The figures of one speaker, JSON."""
    figures: dict[str, object] = {
        "speaker": name,
        "sentences": len(said["plain"]),
        "minute_s": round(sum(row.seconds for row in minute), 1),
        "learning_s": round(seconds, 1),
        "wer_recordings": round(real, 3),
    }
    for kind, all_said in said.items():
        comparisons = [item.own > other for item in all_said for other in item.others]
        figures[f"cosine_{kind}"] = round(statistics.mean(item.own for item in all_said), 3)
        figures[f"nearer_{kind}"] = sum(comparisons)
        figures["comparisons"] = len(comparisons)
        figures[f"wer_{kind}"] = round(pool(item.errors for item in all_said).rate, 3)
    return figures


def print_row(row: dict[str, object]) -> None:
    print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


def print_total(results: list[dict[str, object]]) -> None:
    """Means over speakers; nearer to the own mean as a share of all comparisons."""
    for kind in ("plain", "adapted"):
        nearer = sum(int(str(row[f"nearer_{kind}"])) for row in results)
        count = sum(int(str(row["comparisons"])) for row in results)
        cosines = statistics.mean(float(str(row[f"cosine_{kind}"])) for row in results)
        errors = statistics.mean(float(str(row[f"wer_{kind}"])) for row in results)
        print(
            f"{kind}: cosine {cosines:.3f}, nearer to the own voice {nearer} of {count} "
            f"({100 * nearer / max(count, 1):.1f} %), word errors {errors:.3f}"
        )


if __name__ == "__main__":
    main()
