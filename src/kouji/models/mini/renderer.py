"""The stages of `mini` for the engine: no decode; plans to mel frames, mel frames to samples.

A streamed row renders growing chunks, any other row its segment whole. Both networks see a
fixed number of frames to each side, so chunks joined equal the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.models.mini.config import FINE_CHANNELS, HOP_SAMPLES, SAMPLE_RATE
from kouji.models.mini.frontend import sequence_segment
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.plan import Plan, make_plan
from kouji.models.mini.synthesis import Networks
from kouji.models.mini.voice import AdaptedVoice
from kouji.models.stages import RenderOptions
from kouji.text.style import Style
from kouji.text.units import Segment

FIRST_CHUNK_FRAMES = 20  # 0.4 s: little to wait for
_CHUNK_GROWTH = 2
_MAX_CHUNK_FRAMES = 160  # 3.2 s


class MiniRow:
    """One segment on its way from plan to samples.

    plan:      decided before the row exists
    mel:       (frames, FINE_CHANNELS), decoded so far
    start:     first frame not yet given out; end: of the chunk in work
    """

    def __init__(self, plan: Plan, seed: int, context: int, *, is_streamed: bool) -> None:
        self.plan, self.seed, self._context = plan, seed, context
        self.mel = torch.zeros(0, FINE_CHANNELS, device=plan.x.device)
        self.start = 0
        self._size = FIRST_CHUNK_FRAMES if is_streamed else plan.num_frames
        self.end = self._chunk_end()

    @property
    def acoustic_cost(self) -> int:
        """Mel frames missing for the chunk in work."""
        return max(0, self._ahead - len(self.mel))

    @property
    def vocode_cost(self) -> int:
        """Frames of the chunk in work with their context, once its mel is there."""
        if self.is_done or self.acoustic_cost:
            return 0
        left, right = self.span
        return right - left

    @property
    def is_midway(self) -> bool:
        return False

    @property
    def is_done(self) -> bool:
        """True once the last frame was given out."""
        return self.start >= self.plan.num_frames

    @property
    def info(self) -> Plan:
        """The plan: durations make the timings."""
        return self.plan

    @property
    def missing(self) -> tuple[int, int]:
        """The span of mel frames that the next acoustic pass decodes."""
        return len(self.mel), self._ahead

    @property
    def span(self) -> tuple[int, int]:
        """The chunk in work with its context."""
        return max(0, self.start - self._context), self._ahead

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """Nothing to feed: `mini` has no decode stage."""

    def grow(self, mel: Tensor) -> None:
        """Take over freshly decoded frames."""
        self.mel = torch.cat([self.mel, mel])

    def cut(self, wave: NDArray[np.float32]) -> NDArray[np.float32]:
        """The chunk in work out of the samples of `span`; moves on to the next chunk."""
        left, _ = self.span
        chunk = wave[(self.start - left) * HOP_SAMPLES : (self.end - left) * HOP_SAMPLES]
        self.start = self.end
        self._size = min(self._size * _CHUNK_GROWTH, max(_MAX_CHUNK_FRAMES, self._size))
        self.end = self._chunk_end()
        return chunk

    @property
    def _ahead(self) -> int:
        return min(self.end + self._context, self.plan.num_frames)

    def _chunk_end(self) -> int:
        end = min(self.start + self._size, self.plan.num_frames)
        # no crumb at the end
        is_crumb = self.plan.num_frames - end < FIRST_CHUNK_FRAMES
        return self.plan.num_frames if is_crumb else end


class MiniRenderer:
    """Implements `kouji.models.stages.Renderer`."""

    sample_rate = SAMPLE_RATE
    vocode_rows = 8  # a row is short work: the batch saves its overhead
    packs_rows = False

    def __init__(
        self, planner: AcousticModel, networks: Networks, *, pace: float, identity: str
    ) -> None:
        """Join the planner (float32) and the networks that make sound (their own precision)."""
        self._planner, self._networks, self._pace = planner, networks, pace
        self.identity = identity

    @property
    def num_bytes(self) -> int:
        """Memory of all weights."""
        modules = {self._planner, self._networks.acoustic, self._networks.vocoder}
        return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())

    def plan(
        self,
        segment: Segment,
        voice: Tensor | AdaptedVoice,
        style: Style,
        *,
        is_last: bool,
        seed: int = 0,
    ) -> Plan:
        """Decide durations, pitch and energy of one segment."""
        sequence = sequence_segment(segment, is_last=is_last)
        return make_plan(self._planner, sequence, voice, style, self._pace, seed)

    def open(
        self,
        segment: Segment,
        voice: Tensor | AdaptedVoice,
        options: RenderOptions,
        seed: int,
        *,
        is_last: bool,
    ) -> MiniRow:
        """Plan a segment and begin its rendering.

        voice: (channels,) speaker embedding, or an adapted voice
        """
        style = options.style or Style()
        plan = self.plan(segment, voice, style, is_last=is_last, seed=seed)
        return MiniRow(plan, seed, self._networks.context, is_streamed=options.is_streamed)

    @torch.inference_mode()
    def acoustic(self, rows: Sequence[MiniRow]) -> None:
        """Decode the mel frames each row's chunk is missing."""
        mels = self._networks.decode([row.plan for row in rows], [row.missing for row in rows])
        for row, mel in zip(rows, mels, strict=True):
            row.grow(mel)

    @torch.inference_mode()
    def vocode(self, rows: Sequence[MiniRow]) -> list[NDArray[np.float32]]:
        """The next chunk of every row."""
        spans = [row.span for row in rows]
        waves = self._networks.vocode(
            [row.plan for row in rows],
            [row.mel[left:right] for row, (left, right) in zip(rows, spans, strict=True)],
            spans,
            [row.seed for row in rows],
        )
        return [row.cut(wave) for row, wave in zip(rows, waves, strict=True)]
