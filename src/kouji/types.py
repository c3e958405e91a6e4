"""The words every room of Kouji shares: sound, timings and the result of speaking.

Knows numpy and nothing else: no torch, no model. `Speech.save` is a door to the encoder,
opened when it is called.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Language = Literal["zh", "en"]
# What a caller may name: languages, and the mixed modes of GPT-SoVITS.
LANGUAGES = ("zh", "en", "ja", "ko", "yue", "de", "es", "fr", "it", "ru")
LANGUAGE_MODES = (*LANGUAGES, "auto", "auto_yue", "all_zh", "all_ja", "all_ko", "all_yue")


@dataclass(frozen=True)
class Audio:
    """Mono sound: `samples` (samples,) float32 nominally in [-1, 1] at `sample_rate` Hz."""

    samples: Samples
    sample_rate: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


@dataclass(frozen=True)
class Timing:
    """When something was spoken: `start` and `end` in seconds from the start of the audio."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class SegmentReport:
    """What happened to one segment of the text; a stage that retries counts in `retries`."""

    text: str
    start: float
    end: float
    retries: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Speech:
    """The result of speaking: audio with word and phone timings and what happened on the way.

    metadata: the labels a file of it carries
    signer:   signs such a file where the operator wants that (kouji.audio.provenance)
    """

    audio: Audio
    words: tuple[Timing, ...] = ()
    phones: tuple[Timing, ...] = ()
    segments: tuple[SegmentReport, ...] = ()
    warnings: tuple[str, ...] = ()
    seed: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    signer: Any = field(default=None, repr=False, compare=False)

    def save(self, path: str | Path, *, format: str | None = None) -> None:
        """Write the audio, whole or not at all; the file's suffix names the format.

        format: overrides the suffix; one of those of `kouji.audio.encode`
        """
        from kouji.audio.encode import save_audio

        tags = self.metadata or None
        save_audio(self.audio, path, format=format, tags=tags, signer=self.signer)

    def save_subtitles(self, path: str | Path) -> None:
        """Write the word timings as .srt, .vtt or .json, by the file's suffix."""
        from kouji.subtitles import save_subtitles

        text = "".join(segment.text for segment in self.segments)
        save_subtitles(path, self.words, self.phones, text=text)
