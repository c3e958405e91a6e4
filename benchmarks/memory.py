"""Does memory grow? Many requests of mixed length and voice, and resident memory on the way.

    python benchmarks/memory.py [--model mini] [--requests 500] [--at-once 8] [--voices 6]

Prints resident memory after every 50 requests, the growth from the 50th to the last, and, as its
last line, one JSON object. `--model` takes a name or a folder; voices are made-up sound, since
memory does not depend on who speaks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np

import kouji
from kouji.config import Settings
from kouji.speaking import SpeakOptions, SpeechRequest
from kouji.types import Audio
from kouji.voices import Voice
from kouji.voices.consent import attest

WARM, STEP = 50, 50
QUIET_SECONDS = 1.0
TEXTS = (
    "你好。",
    "Hello there, my old friend.",
    "今天天气真好，我们一起去公园散步吧。",
    "The evening train was late again, so we left the station and walked along the river, "
    "talking about the long summers by the sea when we were young.",
    "口技，是中国民间的一种表演艺术。演员用嘴模仿各种声音，能使听的人达到身临其境的感觉。"
    "这种技艺，清代属百戏之一种，表演者多隐身在布幔或屏风后边。",
)


def main() -> None:
    """Speak, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--voices", type=int, default=6)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        readings = measure(
            options.model, Path(home), options.requests, options.at_once, options.voices
        )
    growth = readings[-1] / readings[0] - 1
    print(f"growth from request {WARM} to {options.requests}: {growth:+.2%}")
    figures = {"benchmark": "memory", **vars(options), "resident_mb": readings}
    print(json.dumps({**figures, "growth": round(growth, 4)}))


def measure(
    model: str, home: Path, num_requests: int, at_once: int, num_voices: int
) -> list[float]:
    """Resident MB after the first `WARM` requests and after every `STEP` more."""
    voices = [make_voice(index) for index in range(num_voices)]
    rng, readings, done = random.Random(0), [], 0
    with kouji.load(model, settings=Settings(home=home)) as tts:
        while done < num_requests:
            count = min(at_once, num_requests - done)
            requests = [
                SpeechRequest(
                    rng.choice(TEXTS),
                    rng.choice(voices),
                    seed=rng.randrange(1000),
                    options=SpeakOptions(guard=False),
                )
                for _ in range(count)
            ]
            for outcome in tts.speak_many(requests):
                if isinstance(outcome, Exception):
                    raise outcome
            before, done = done, done + count
            if done >= WARM and done // STEP > before // STEP:
                time.sleep(QUIET_SECONDS)  # the engine gives back what it freed
                readings.append(resident_mb())
                print(f"{done:5d} requests: {readings[-1]:.1f} MB")
        tts.engine.check_integrity()
    return readings


def make_voice(seed: int) -> Voice:
    """Four seconds of noise with a transcript."""
    noise = np.random.default_rng(seed).normal(0, 0.05, 4 * 24_000).astype(np.float32)
    return Voice.from_reference(
        Audio(noise, 24_000), name=f"voice{seed}", transcript="你好，世界。", consent=attest()
    )


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


if __name__ == "__main__":
    main()
