"""All lines as one sound: one after another with a pause, or each at the time of its slot.

Every line is brought to the same loudness without clipping; lines that sound at the same time
are made quieter, so that their sum does not clip either. Memory holds the lines that sound now.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from kouji.audio.encode import AudioWriter
from kouji.audio.load import load_audio
from kouji.audio.loudness import normalise_loudness
from kouji.audio.provenance import ManifestSigner
from kouji.audio.resample import resample
from kouji.errors import JobError
from kouji.jobs.spoken import SpokenLine
from kouji.types import Audio, Samples

PAUSE_SECONDS = 0.35  # between two lines, as between two paragraphs
SILENCE_SECONDS = 10  # written at once


@dataclass(frozen=True)
class Placed:
    """A line's place in the joined sound. share: of full loudness, 1 where it sounds alone"""

    number: int
    start: float
    seconds: float
    share: float = 1.0


def place(lines: Iterable[SpokenLine]) -> list[Placed]:
    """Where each line that has sound begins, in order of time."""
    placed: list[Placed] = []
    now = 0.0
    for line in lines:
        if not line.is_spoken:
            continue
        start = now if line.start is None else line.start
        placed.append(Placed(line.number, start, line.seconds))
        now += line.seconds + PAUSE_SECONDS
    return _shared(sorted(placed, key=lambda item: (item.start, item.number)))


def _shared(placed: Sequence[Placed]) -> list[Placed]:
    """Give each run of overlapping lines the share that the most at once leave each."""
    shared: list[Placed] = []
    run: list[Placed] = []
    ends: list[float] = []
    most, last = 1, 0.0
    for item in placed:
        if run and item.start >= last:
            shared += [replace(other, share=1 / most) for other in run]
            run, ends, most = [], [], 1
        while ends and ends[0] <= item.start:
            heapq.heappop(ends)
        heapq.heappush(ends, item.start + item.seconds)
        last = max(last, item.start + item.seconds) if run else item.start + item.seconds
        most = max(most, len(ends))
        run.append(item)
    return shared + [replace(other, share=1 / most) for other in run]


def write_joined(
    path: Path,
    placed: Sequence[Placed],
    sound_of: Callable[[int], Path],
    *,
    format: str,
    tags: dict[str, str],
    lufs: float,
    signer: ManifestSigner | None = None,
) -> None:
    """Write the joined file, which appears whole.

    sound_of: the lossless file of a line's number
    signer:   puts a C2PA manifest into the file
    raises:   AudioError
    """
    first = _load(sound_of(placed[0].number), None)
    rate = first.sample_rate
    with AudioWriter(path, rate, format=format, tags=tags, signer=signer) as writer:
        mixer = _Mixer(writer.write)
        for item in placed:
            audio = _load(sound_of(item.number), rate)
            even = normalise_loudness(audio, lufs) if len(audio.samples) else audio
            start = round(item.start * rate)
            mixer.add(start, even.samples * np.float32(item.share), rate)
        mixer.close()


def _load(path: Path, sample_rate: int | None) -> Audio:
    if not path.is_file():
        raise JobError("the sound of a line is gone", seen=path.name, cure="resume the job")
    audio = load_audio(path, max_seconds=float("inf"))
    if sample_rate is not None and audio.sample_rate != sample_rate:
        return resample(audio, sample_rate)
    return audio


class _Mixer:
    """Adds sounds in order of their start and gives away what nothing can be added to."""

    def __init__(self, write: Callable[[Samples], object]) -> None:
        self._write = write
        self._tail = np.zeros(0, np.float32)  # from `_place` on
        self._place = 0  # samples given away

    def add(self, start: int, samples: Samples, sample_rate: int) -> None:
        """Let a sound begin at sample `start`, which is never before that of the last one."""
        self._give(start - self._place, SILENCE_SECONDS * sample_rate)
        offset = start - self._place
        missing = offset + len(samples) - len(self._tail)
        if missing > 0:
            self._tail = np.concatenate([self._tail, np.zeros(missing, np.float32)])
        self._tail[offset : offset + len(samples)] += samples

    def _give(self, count: int, most: int) -> None:
        ready = self._tail[:count]
        if len(ready):
            self._write(ready)
        silent = count - len(ready)
        for done in range(0, silent, most):
            self._write(np.zeros(min(most, silent - done), np.float32))
        self._tail = self._tail[len(ready) :]
        self._place += max(0, count)

    def close(self) -> None:
        """Give away the rest."""
        if len(self._tail):
            self._write(self._tail)
