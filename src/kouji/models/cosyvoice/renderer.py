"""The render stages of CosyVoice: `acoustic` is one step of the flow, `vocode` the vocoder.

A piece takes ten calls of `acoustic`, one Euler step each, so that rows come and go between any
two and a long segment holds nobody up. A whole segment gets the official numbers: full attention,
one piece. What a row gives depends on its own tokens, voice and seed, never on its mates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from kouji.models.cosyvoice.conditioning import Conditioning, Manner, SpeechSegment, TextSegment
from kouji.models.cosyvoice.config import SAMPLE_RATE
from kouji.models.cosyvoice.flow import Flow, Vocoder
from kouji.models.cosyvoice.render_row import CosyRow
from kouji.models.cosyvoice.schedule import Schedule
from kouji.models.stages import RenderOptions

CAUSAL_FRAMES = 256  # vocoded at once, five seconds: bounds memory and lets others in
NO_BOUND = 1 << 30
BATCH_ROWS = 32  # vocoded together on a GPU


class CosyRenderer:
    """`stages.Renderer` over one set of weights; one thread at a time."""

    sample_rate = SAMPLE_RATE
    packs_rows = True  # rows of any length lie end to end in the flow

    def __init__(
        self, flow: Flow, vocoder: Vocoder, identity: str, *, manner: Manner, device: str = "cpu"
    ) -> None:
        """Join flow and vocoder.

        identity: family and hash of the weights
        manner:   how streams are rendered
        """
        self.flow, self.vocoder, self.identity, self.manner = flow, vocoder, identity, manner
        # One row fills a CPU.
        self.vocode_rows = 1 if torch.device(device).type == "cpu" else BATCH_ROWS

    @property
    def num_bytes(self) -> int:
        """Memory of the weights and of the prompts kept."""
        return self.flow.num_bytes + self.vocoder.num_bytes

    def open(
        self,
        segment: TextSegment | SpeechSegment,
        voice: Conditioning,
        options: RenderOptions,
        seed: int,
        *,
        is_last: bool,
    ) -> CosyRow:
        """Begin a segment; one of speech has its tokens already."""
        del is_last  # segments end alike
        tokens = segment.tokens.tolist() if isinstance(segment, SpeechSegment) else None
        config = self.flow.config
        schedule = Schedule(len(voice.tokens), config, self.manner, is_streamed=options.is_streamed)
        flow = self.flow.open(
            voice,
            is_streamed=options.is_streamed,
            manner=self.manner,
            num_tokens=None if tokens is None else len(tokens),
            is_exact=options.is_exact,
        )
        is_causal = config.version == "cosyvoice3" or options.is_streamed
        row = CosyRow(
            flow,
            self.vocoder.open(seed),
            schedule,
            config,
            is_streamed=options.is_streamed,
            speed=options.speed,
            max_frames=CAUSAL_FRAMES if is_causal else NO_BOUND,
        )
        if tokens is not None:
            row.feed(tokens, is_final=True)
        return row

    @torch.inference_mode()
    def acoustic(self, rows: Sequence[CosyRow]) -> None:
        """One Euler step in each row."""
        for row in rows:
            row.begin_piece()
        self.flow.step([row.flow for row in rows if row.flow.num_steps_left])
        for row in rows:
            row.end_piece()

    @torch.inference_mode()
    def vocode(self, rows: Sequence[CosyRow]) -> list[NDArray[np.float32]]:
        """The samples of the next frames of each row."""
        work = [row.next_frames() for row in rows]
        sounds = self.vocoder.vocode(
            [row.vocoder for row in rows],
            [frames for frames, _ in work],
            [is_final for _, is_final in work],
        )
        for row, (frames, is_final) in zip(rows, work, strict=True):
            row.give(len(frames), is_final=is_final)
        return [sound.cpu().numpy() for sound in sounds]
