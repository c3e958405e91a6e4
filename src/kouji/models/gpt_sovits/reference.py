"""Reference recordings of GPT-SoVITS: loaded, held to its 3 to 10 seconds, cut where asked.

The first reference of a voice is the one whose words continue; it must be 3 to 10 s long, the
length the models were trained with. Further references lend their timbre only and may have
nearly any length. Knows nothing of networks.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kouji.audio.clean import ReferenceRules, load_reference, refuse_silence
from kouji.audio.load import Source
from kouji.audio.slice import find_best_part
from kouji.errors import ReferenceRefused
from kouji.models.gpt_sovits.spectrogram import HUBERT_RATE, hubert_samples
from kouji.types import Audio

MIN_SECONDS, MAX_SECONDS = 3.0, 10.0
# 0.3 s of silence after the reference, counted at 32 kHz but added at 16 kHz: 0.6 s. Official.
TRAILING_ZEROS = int(0.3 * 32000)
# Of further references: the style encoder's attention grows with the square of their length.
MIN_FURTHER_SECONDS, MAX_FURTHER_SECONDS = 0.1, 60.0
MAX_CUT_SECONDS = 600.0  # a part is looked for in no more than this


@dataclass(frozen=True)
class Reference:
    """A recording that may speak for a voice.

    audio: mono float32 at its native rate
    part:  seconds of the recording that were kept, where it was cut
    """

    audio: Audio
    part: tuple[float, float] | None = None

    @cached_property
    def content_hash(self) -> str:
        """Of samples and rate: what is computed from a reference may be kept under it."""
        digest = hashlib.sha256(f"{self.audio.sample_rate}\n".encode())
        digest.update(np.ascontiguousarray(self.audio.samples, np.float32).tobytes())
        return digest.hexdigest()[:32]


def load_first(
    source: Source, *, array_rate: int | None = None, cut_long: bool = False
) -> Reference:
    """Load the reference whose words continue.

    source:   whatever `load_audio` takes; several channels become their mean
    array_rate: Hz of an array
    cut_long: keep the best 3 to 10 s of a longer recording, from pause to pause, instead of
              refusing it as the official code does; a transcript no longer fits then
    raises:   ReferenceRefused (empty, silent, not_finite, too_short, too_long) with the seconds,
              UnreadableAudio, AudioError
    """
    reference = _load(source, array_rate, (MIN_SECONDS, MAX_SECONDS), cut_long)
    # Counted as the official code counts: in samples of HuBERT's rate, zeros not yet added.
    audio = reference.audio
    num_samples = -(-len(audio.samples) * HUBERT_RATE // audio.sample_rate)
    if not MIN_SECONDS * HUBERT_RATE <= num_samples <= MAX_SECONDS * HUBERT_RATE:
        raise _wrong_length(audio.duration, (MIN_SECONDS, MAX_SECONDS))
    return reference


def load_further(
    source: Source, *, array_rate: int | None = None, cut_long: bool = False
) -> Reference:
    """Load a reference that only lends its timbre; as `load_first`, with wider limits."""
    limits = (MIN_FURTHER_SECONDS, MAX_FURTHER_SECONDS)
    reference = _load(source, array_rate, limits, cut_long)
    if not limits[0] <= reference.audio.duration <= limits[1]:
        raise _wrong_length(reference.audio.duration, limits)
    return reference


def hubert_input(reference: Reference) -> Tensor:
    """What semantic tokens are drawn from: (1, samples + 9600) float32 at 16 kHz, raw."""
    return torch.nn.functional.pad(hubert_samples(reference.audio), (0, TRAILING_ZEROS))


def _load(
    source: Source, array_rate: int | None, limits: tuple[float, float], cut_long: bool
) -> Reference:
    rules = ReferenceRules(max_seconds=MAX_CUT_SECONDS if cut_long else limits[1])
    try:
        audio = load_reference(source, rules, array_rate=array_rate)
    except ReferenceRefused as error:
        if error.reason != "too_long":
            raise
        raise _wrong_length(str(error.seen), (limits[0], rules.max_seconds)) from error
    if audio.duration > rules.max_seconds and cut_long:
        raise _wrong_length(audio.duration, (limits[0], rules.max_seconds))
    refuse_silence(audio)
    if not cut_long or audio.duration <= limits[1]:
        return Reference(audio)
    start, end = find_best_part(audio, limits)
    first = round(start * audio.sample_rate)
    num_samples = min(round((end - start) * audio.sample_rate), int(limits[1] * audio.sample_rate))
    samples = np.ascontiguousarray(audio.samples[first : first + num_samples])
    kept = Audio(samples, audio.sample_rate)
    refuse_silence(kept)
    return Reference(kept, (start, end))


def _wrong_length(seconds: float | str, limits: tuple[float, float]) -> ReferenceRefused:
    seen = seconds if isinstance(seconds, str) else f"{seconds:.2f} s"
    is_short = not isinstance(seconds, str) and seconds < limits[0] + 1e-3
    return ReferenceRefused(
        "too_short" if is_short else "too_long",
        f"the reference is too {'short' if is_short else 'long'} for GPT-SoVITS",
        seen=seen,
        allowed=f"{limits[0]:g} to {limits[1]:g} s",
        cure="record a longer one" if is_short else "cut out a part, from pause to pause",
    )
