"""How far voices heard once are kept apart: every held-out speaker against all of the same sex.

    python benchmarks/likeness.py --data runs/prepared [--model FOLDER ...]

The own-speaker test of `kouji evaluate` compares each sentence with one other speaker, forty
times. Here every held-out speaker is heard in one recording and says four sentences, and each is
compared (an independent encoder) with that recording and with those of all held-out speakers of
the same sex: some 700 comparisons, so that two sets of weights can be told apart. It is harder:
among many others one that is alike is found. Prints a line for people and one JSON line for each
model.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kouji
from kouji.api import TTS
from kouji.audio.load import load_audio
from kouji.config import load_settings
from kouji.evaluate.similarity import SpeakerEncoder, cosine
from kouji.train.store import Store

SHORTEST, BEST = 3.0, 9.0  # seconds of a recording that is heard
SENTENCES = (
    "the old man walked slowly down to the river and sat there for a while",
    "she had never seen so many people in one place before",
    "we should leave early tomorrow morning if the weather is good",
    "what do you think they will say about it when they hear the news",
)


@dataclass(frozen=True)
class Person:
    """A held-out speaker, what is heard of them and its embedding."""

    name: str
    gender: str
    recording: Path
    embedding: NDArray[np.float32]


def read_people(store: Store, encoder: SpeakerEncoder) -> list[Person]:
    """Held-out speakers, each by the first recording that is long enough, or the longest."""
    clips = defaultdict(list)
    for clip in sorted(store.clips, key=lambda clip: clip.path):
        if clip.split == "test":
            clips[clip.speaker].append(clip)
    people = []
    for name, own in sorted(clips.items()):
        best = max(own, key=lambda clip: min(clip.seconds, BEST))
        embedding = encoder.embed(load_audio(best.path)) if best.seconds >= SHORTEST else None
        if embedding is not None:
            people.append(Person(name, best.gender, Path(best.path), embedding))
    return people


def measure(tts: TTS, people: list[Person], encoder: SpeakerEncoder) -> dict[str, Any]:
    """Figures of one model, JSON."""
    own, others = [], []
    nearer: dict[str, list[bool]] = {}
    for person in people:
        rivals = [p for p in people if p.gender == person.gender and p is not person]
        voice = tts.enroll(person.recording)
        for seed, text in enumerate(SENTENCES):
            said = encoder.embed(tts.speak(text, voice, seed=seed).audio)
            if said is None:
                raise SystemExit(f"{person.name} said nothing: {text}")
            likeness = cosine(said, person.embedding)
            strange = [cosine(said, rival.embedding) for rival in rivals]
            own.append(likeness)
            others += strange
            nearer.setdefault(person.name, []).extend(likeness > other for other in strange)
    every = [is_nearer for of_one in nearer.values() for is_nearer in of_one]
    return {
        "speakers": len(people),
        "comparisons": len(every),
        "nearer": round(statistics.mean(every), 4),
        "own": round(statistics.mean(own), 4),
        "other": round(statistics.mean(others), 4),
        "nearer_by_speaker": {n: round(statistics.mean(x), 3) for n, x in nearer.items()},
    }


def main() -> None:
    """Measure all models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a prepared store")
    parser.add_argument("--model", nargs="+", default=["mini"], help="mini, or folders of weights")
    options = parser.parse_args()
    encoder = SpeakerEncoder()
    people = read_people(Store(options.data), encoder)
    for model in options.model:
        with kouji.load(model, settings=load_settings()) as tts:
            figures = measure(tts, people, encoder)
        print(
            f"{model}: nearer {100 * figures['nearer']:.1f} % of {figures['comparisons']}, "
            f"cosine own {figures['own']:.3f}, other {figures['other']:.3f}",
            flush=True,
        )
        print(json.dumps({"benchmark": "likeness", "model": model, **figures}), flush=True)


if __name__ == "__main__":
    main()
