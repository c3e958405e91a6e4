"""The records of a packed store: its clips, speakers and the layout of its arrays.

Plain data that both the reader and the writer of the store know; no files, no features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Axis = Literal["frames", "samples", "phones"]


@dataclass(frozen=True)
class ArraySpec:
    """How one array lies on disk: `columns` 0 means one value per row of its axis.

    Where `scale` is not 1 the array is quantised: value = stored * scale + offset, float16.
    """

    axis: Axis
    dtype: str
    columns: int = 0
    scale: float = 1.0
    offset: float = 0.0

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return np.dtype(self.dtype).itemsize * max(1, self.columns)

    def encode(self, values: Array) -> Array:
        """Values as they are stored; what a quantised type cannot hold goes to its limit."""
        if self.scale == 1.0:
            return np.ascontiguousarray(values, dtype=self.dtype)
        limits = np.iinfo(self.dtype)
        steps = np.round((values.astype(np.float32) - self.offset) / self.scale)
        return np.ascontiguousarray(steps.clip(limits.min, limits.max), dtype=self.dtype)

    def decode(self, stored: Array) -> Array:
        """A writable copy of stored rows, as values."""
        if self.scale == 1.0:
            return np.array(stored)
        return (stored.astype(np.float32) * self.scale + self.offset).astype(np.float16)


def standard_arrays(num_mels: int) -> dict[str, ArraySpec]:
    """The arrays `prepare` writes for every clip, by name."""
    return {
        "mel": ArraySpec("frames", "float16", num_mels),
        "f0": ArraySpec("frames", "float32"),
        "energy": ArraySpec("frames", "float16"),
        "wave": ArraySpec("samples", "int16"),
        "phones": ArraySpec("phones", "int16"),
        "tones": ArraySpec("phones", "int8"),
        "words": ArraySpec("phones", "int16"),
        "boundary": ArraySpec("phones", "uint8"),
    }


@dataclass(frozen=True)
class Clip:
    """One utterance of the store: where it came from, what is said, what was measured.

    Levels are of the source before normalisation (dBFS of active speech); `bandwidth_hz`
    is the highest frequency with energy, `full_band` whether that is about all of 24 kHz
    audio; `split` is train, valid (known speaker) or test (speaker never trained on).
    """

    id: str
    path: str
    speaker: str
    language: str
    gender: str
    corpus: str
    text: str
    split: str
    seconds: float
    num_frames: int
    num_samples: int
    num_phones: int
    level_dbfs: float
    snr_db: float
    bandwidth_hz: float
    full_band: bool

    def count(self, axis: Axis) -> int:
        """Rows this clip has along `axis`."""
        return {
            "frames": self.num_frames,
            "samples": self.num_samples,
            "phones": self.num_phones,
        }[axis]


@dataclass(frozen=True)
class Speaker:
    """One speaker with gender (f, m or empty), languages, clip count, seconds and split."""

    name: str
    gender: str
    languages: tuple[str, ...]
    num_clips: int
    seconds: float
    held_out: bool


def count_speakers(clips: Iterable[Clip]) -> list[Speaker]:
    """Sum up the speakers of `clips`, in order of their names."""
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.speaker, []).append(clip)
    return [
        Speaker(
            name=name,
            gender=next((clip.gender for clip in own if clip.gender), ""),
            languages=tuple(sorted({clip.language for clip in own})),
            num_clips=len(own),
            seconds=round(sum(clip.seconds for clip in own), 3),
            held_out=all(clip.split == "test" for clip in own),
        )
        for name, own in sorted(groups.items())
    ]
