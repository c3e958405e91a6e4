"""`mini` as one object: the questions of `kouji.models.family`, answered.

Owns the networks in their precisions: planning and embedding always run in float32,
rendering in the precision of the device. Knows no files and no policies.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import ModelError, StyleError, UsageError
from kouji.models.family import (
    AS_USUAL,
    Arrays,
    PreparedSegment,
    PreparedText,
    TextOptions,
    Timeline,
)
from kouji.models.mini.config import FRAME_RATE_HZ, SAMPLE_RATE
from kouji.models.mini.frontend import phone_name
from kouji.models.mini.plan import Plan
from kouji.models.mini.renderer import MiniRenderer
from kouji.models.mini.synthesis import Networks
from kouji.models.mini.voice import (
    AdaptedVoice,
    best_part,
    embed_reference,
    pack_conditioning,
    unpack_conditioning,
)
from kouji.models.mini.weights import Checkpoint
from kouji.models.stages import SamplingOptions, SpeechModel
from kouji.text.front import analyse
from kouji.text.phones import SYMBOLS, is_silence
from kouji.text.style import Style
from kouji.text.units import Segment, Word
from kouji.types import Audio, Language, Timing
from kouji.voices import Voice

EVENTS = frozenset({"strong"})  # marks `mini` can voice; others are dropped with a warning
LANGUAGES: dict[str, Language] = {"zh": "zh", "en": "en"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class MiniFamily:
    """Implements `kouji.models.family.Family` with one checkpoint."""

    name = "mini"
    sample_rate = SAMPLE_RATE
    sampling = SamplingOptions()  # it has nothing to sample

    def __init__(self, checkpoint: Checkpoint, *, precision: str, device: str = "cpu") -> None:
        """Take over the networks of `checkpoint`.

        precision: float32, bfloat16 or float16, of rendering
        """
        self.device, self.precision = torch.device(device), precision
        self._hash = checkpoint.weights_hash
        self._planner = checkpoint.acoustic.to(self.device)
        acoustic, vocoder = self._planner, checkpoint.vocoder.to(self.device)
        dtype = DTYPES[precision]
        if dtype is not torch.float32:
            acoustic, vocoder = copy.deepcopy(acoustic).to(dtype), vocoder.to(dtype)
        self.renderer = MiniRenderer(
            self._planner,
            Networks(acoustic, vocoder),
            pace=checkpoint.pace,
            identity=f"{self.name}@{self._hash} {precision}",
        )

    def weights_hash(self, voice: Voice | None = None) -> str:
        """Hash of the checkpoint, the same for every voice."""
        return self._hash

    def check_style(self, style: Style) -> tuple[str, ...]:
        """StyleError for a dialect: `mini` speaks Mandarin and American English only."""
        if style.dialect is not None:
            raise StyleError(
                "mini does not speak dialects",
                seen=style.dialect,
                allowed="rate, pitch, energy and mood in plain words",
                cure="use a CosyVoice 3 checkpoint for dialects",
            )
        return ()

    def prepare(
        self,
        text: str,
        voice: Voice,
        *,
        language: str | None,
        style: Style,
        options: TextOptions = AS_USUAL,
    ) -> PreparedText:
        """Segments of phones with their marks; where they are cut, and the pauses, are its own."""
        if language is not None and language not in LANGUAGES:
            allowed = ", ".join(LANGUAGES)
            raise UsageError("mini does not speak this language", seen=language, allowed=allowed)
        analysis = analyse(text, language=LANGUAGES.get(language or ""), events=EVENTS)
        segments = tuple(PreparedSegment(part.text, part) for part in analysis.segments)
        ignored = tuple(f"mini offers no choice of {name}" for name in options.names)
        return PreparedText(segments, (*analysis.warnings, *ignored))

    @contextmanager
    def hold(self, voice: Voice) -> Iterator[SpeechModel]:
        """The one checkpoint, which stays anyway."""
        yield SpeechModel(self.renderer)

    def condition(self, voice: Voice, model: SpeechModel) -> Tensor:
        """The speaker embedding of the voice's reference, (channels,).

        raises: ModelError for an adapted voice: what was learned of it is kept beside it, or gone
        """
        adapted = voice.adapted
        if adapted is not None and adapted.model == self.name:
            raise ModelError(
                f"what mini learned of the voice {voice.name!r} is not there for these weights",
                seen=self._hash,
                allowed=adapted.weights,
                cure="remove the voice and adapt to it again: kouji finetune mini",
            )
        return self.embed(best_part(voice.reference))

    def embed(self, reference: Audio) -> Tensor:
        """The speaker embedding of a cleaned reference, (channels,)."""
        return embed_reference(self._planner, reference)

    def pack(self, conditioning: Tensor | AdaptedVoice) -> dict[str, NDArray[np.float32]]:
        """The embedding as an array, with the offsets of an adapted voice."""
        return pack_conditioning(conditioning)

    def unpack(self, arrays: Arrays) -> Tensor | AdaptedVoice:
        """Undo `pack`."""
        return unpack_conditioning(arrays, self.device)

    def timeline(self, segment: PreparedSegment, info: Plan, offset: float) -> Timeline:
        """Timings from the plan's durations."""
        return Timeline(word_timings(info, segment.payload, offset), phone_timings(info, offset))

    def warnings(self, info: Plan) -> tuple[str, ...]:
        """What marks asked for and the plan could not fulfil."""
        return info.sequence.warnings


def word_timings(plan: Plan, segment: Segment, offset: float) -> tuple[Timing, ...]:
    """When each word of a segment is spoken.

    offset: seconds of audio before the segment
    """
    ends = np.cumsum(plan.durations) / FRAME_RATE_HZ + offset
    starts = ends - plan.durations / FRAME_RATE_HZ
    timings = []
    for index, unit in enumerate(segment.units):
        own = np.flatnonzero(plan.sequence.units == index)
        if isinstance(unit, Word) and len(own):
            timings.append(Timing(unit.text, float(starts[own[0]]), float(ends[own[-1]])))
    return tuple(timings)


def phone_timings(plan: Plan, offset: float) -> tuple[Timing, ...]:
    """When each sounding phone is spoken; see `word_timings`."""
    ends = np.cumsum(plan.durations) / FRAME_RATE_HZ + offset
    sequence = plan.sequence
    return tuple(
        Timing(phone_name(symbol, tone), float(end - frames / FRAME_RATE_HZ), float(end))
        for symbol, tone, frames, end in zip(
            sequence.symbols, sequence.tones, plan.durations, ends, strict=True
        )
        if not is_silence(SYMBOLS[symbol])
    )
