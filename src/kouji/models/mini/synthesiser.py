"""`mini` as one object: reference to embedding, segments to plans, plans to sound.

Owns the networks in their precisions: planning and embedding always run in float32,
rendering in the precision of the device. Knows no files, voices or policies.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import StyleError
from kouji.models.mini.config import FRAME_RATE_HZ, SAMPLE_RATE
from kouji.models.mini.frontend import phone_name, sequence_segment
from kouji.models.mini.plan import Plan, make_plan
from kouji.models.mini.synthesis import Renderer
from kouji.models.mini.voice import embed_reference
from kouji.models.mini.weights import Checkpoint
from kouji.text.phones import SYMBOLS, is_silence
from kouji.text.style import Style
from kouji.text.units import Segment, Word
from kouji.types import Audio, Timing

EVENTS = frozenset({"strong"})  # marks `mini` can voice; others are dropped with a warning
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class MiniSynthesiser:
    """Speaks segments in the voice of an embedding."""

    name = "mini"
    sample_rate = SAMPLE_RATE
    events = EVENTS

    def __init__(self, checkpoint: Checkpoint, *, precision: str, device: str = "cpu") -> None:
        """Take over the networks of `checkpoint`.

        precision: float32, bfloat16 or float16, of rendering
        """
        self.device, self.precision = torch.device(device), precision
        self.weights_hash = checkpoint.weights_hash
        self.pace = checkpoint.pace
        self.planner = checkpoint.acoustic.to(self.device)
        vocoder = checkpoint.vocoder.to(self.device)
        dtype = DTYPES[precision]
        if dtype is torch.float32:
            self.renderer = Renderer(self.planner, vocoder)
        else:
            self.renderer = Renderer(copy.deepcopy(self.planner).to(dtype), vocoder.to(dtype))

    def embed(self, reference: Audio) -> Tensor:
        """The speaker embedding of a cleaned reference, (channels,)."""
        return embed_reference(self.planner, reference)

    def check_style(self, style: Style) -> None:
        """Raise StyleError for a dialect: `mini` speaks Mandarin and American English only."""
        if style.dialect is not None:
            raise StyleError(
                "mini does not speak dialects",
                seen=style.dialect,
                allowed="rate, pitch, energy and mood in plain words",
                cure="use a CosyVoice 3 checkpoint for dialects",
            )

    def plan(self, segment: Segment, speaker: Tensor, style: Style, *, is_last: bool) -> Plan:
        """Decide durations, pitch and energy of one segment."""
        sequence = sequence_segment(segment, is_last=is_last)
        return make_plan(self.planner, sequence, speaker, style, self.pace)

    def stream(self, plan: Plan, seed: int) -> Iterator[NDArray[np.float32]]:
        """Render in growing chunks."""
        return self.renderer.stream(plan, seed)

    def render(self, plans: Sequence[Plan], seeds: Sequence[int]) -> list[NDArray[np.float32]]:
        """Render whole segments in one batch."""
        return self.renderer.render_batch(plans, seeds)


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
