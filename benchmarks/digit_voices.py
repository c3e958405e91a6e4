"""Make more speakers of spoken digits: voices cloned from recordings of sentences say zero to nine.

    python benchmarks/digit_voices.py --digits SOUNDS --speech SPEECH --out FOLDER [--voices 150]

--digits is a collection with a manifest whose fsdd/ part has speakers; --speech one with a
manifest of path|speaker|language|text. `mini` hears one recording of each chosen speaker and says
the ten digits at its own and at a faster pace. FOLDER gets a manifest of both: the real clips,
each speaker a fold, and the made ones without a fold, so that they teach in every round and are
never measured on. No speaker of the digits is ever cloned. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
import soundfile

from kouji.api import load
from kouji.audio.resample import resample
from kouji.errors import KoujiError
from kouji.speech_request import SpeechRequest
from kouji.text.style import Style
from kouji.train.sound_sets import read_sound_set

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
FASTEST = 1.5
Row = tuple[str, str, str, str]  # path, label, fold, source


def real_rows(sounds: Path, out: Path) -> list[Row]:
    """The recorded digits, linked into `out`; each speaker is a fold."""
    rows = []
    for clip in read_sound_set(sounds, subset="fsdd", group_by="speaker", decode=False).clips:
        place = out / clip.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(clip.path.resolve())
        rows.append((clip.name, clip.label, clip.fold or "", f"recorded, speaker {clip.fold}"))
    return rows


def references(speech: Path, num_voices: int, seed: int) -> list[dict[str, str]]:
    """One English recording of 3 s or more of each of `num_voices` speakers, in a fixed order."""
    with (speech / "manifest.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    first: dict[str, dict[str, str]] = {}
    for row in table:
        if row["language"] == "en" and float(row["duration_s"]) >= 3:
            first.setdefault(row["speaker"], row)
    names = sorted(first)
    np.random.default_rng(seed).shuffle(names)
    return [first[name] for name in names[:num_voices]]


def made_rows(speech: Path, out: Path, num_voices: int, seed: int) -> list[Row]:
    """Digits said by cloned voices; a recording that is refused is left out."""
    tts = load("mini", threads=1)
    rows: list[Row] = []
    for number, reference in enumerate(references(speech, num_voices, seed)):
        speaker = reference["speaker"]
        rng = np.random.default_rng([seed, number])
        names = [f"cloned/{speaker}/{digit}.flac" for digit in range(10)]
        missing = [digit for digit in range(10) if not (out / names[digit]).exists()]
        try:
            if missing:
                voice = tts.enroll(
                    speech / reference["path"],
                    transcript=reference["text"],
                    language="en",
                    name=f"digits {speaker}",
                )
            rates = rng.uniform(1.0, FASTEST, 10)
            requests = [
                SpeechRequest(
                    f"{WORDS[digit]}.", voice, Style(rate=float(rates[digit])), seed=number
                )
                for digit in missing
            ]
            answers = tts.speak_many(requests) if requests else []
        except KoujiError as error:
            print(f"left out {speaker}: {error}", flush=True)
            continue
        for digit, speech_or_error in zip(missing, answers, strict=True):
            if isinstance(speech_or_error, KoujiError):
                raise speech_or_error
            place = out / names[digit]
            place.parent.mkdir(parents=True, exist_ok=True)
            sound = resample(speech_or_error.audio, RATE)
            soundfile.write(place, sound.samples, RATE, format="FLAC")
        rows += [
            (name, f"digit_{digit}", "", f"made by mini from {reference['path']}")
            for digit, name in enumerate(names)
        ]
    tts.close()
    return rows


def main() -> None:
    """Write the folder and its manifest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--digits", type=Path, required=True)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--voices", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = real_rows(options.digits, options.out)
    num_real = len(rows)
    rows += made_rows(options.speech, options.out, options.voices, options.seed)
    lines = ["path|label|fold|source", *("|".join(row) for row in rows)]
    temporary = options.out / f"manifest.{os.getpid()}.tmp"
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, options.out / "manifest.csv")
    print(json.dumps({"recorded": num_real, "made": len(rows) - num_real}))


if __name__ == "__main__":
    main()
