"""A `mini` of toy widths with fixed random weights: real classes, real code paths."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from kouji.models.mini.config import MiniConfig
from kouji.models.mini.family import MiniFamily
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.plan import Plan
from kouji.models.mini.renderer import MiniRow
from kouji.models.mini.vocoder import Vocoder
from kouji.models.mini.weights import Checkpoint
from kouji.text.style import Style
from kouji.text.units import Segment

TINY = MiniConfig(
    width=24,
    hidden=32,
    speaker_channels=16,
    speaker_width=16,
    speaker_hidden=16,
    speaker_dilations=(1, 2),
    encoder_dilations=(1, 2),
    variance_dilations=(1,),
    decoder_dilations=(1, 2, 1),
    vocoder_width=24,
    vocoder_hidden=32,
    vocoder_dilations=(1, 2),
    pitch_width=16,
    pitch_dilations=(1,),
    frame_pitch_dilations=(1, 2),
    harmonic_bands=24,
    noise_bands=16,
)


def make_tiny_checkpoint(seed: int = 0) -> Checkpoint:
    """Random weights that make phones of about five frames, half of them voiced."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        acoustic, vocoder = AcousticModel(TINY).eval(), Vocoder(TINY).eval()
    with torch.no_grad():
        acoustic.predict.bias[0] = 1.8
        vocoder.leave.bias.fill_(-2.0)
    return Checkpoint(acoustic, vocoder, pace=1.0, weights_hash=f"tiny{seed}")


def plan_segment(
    made_by: MiniFamily, segment: Segment, speaker: torch.Tensor, style: Style | None = None
) -> Plan:
    """The plan of a last segment."""
    return made_by.renderer.plan(segment, speaker, style or Style(), is_last=True)


def render_plans(
    made_by: MiniFamily, plans: list[Plan], seeds: list[int], *, is_streamed: bool = False
) -> list[list[NDArray[np.float32]]]:
    """The chunks of each plan, all rows together in every stage, as an engine would."""
    renderer = made_by.renderer
    context = renderer._networks.context
    rows = [
        MiniRow(plan, seed, context, is_streamed=is_streamed)
        for plan, seed in zip(plans, seeds, strict=True)
    ]
    chunks: list[list[NDArray[np.float32]]] = [[] for _ in rows]
    while not all(row.is_done for row in rows):
        if waiting := [row for row in rows if row.acoustic_cost]:
            renderer.acoustic(waiting)
        ready = [index for index, row in enumerate(rows) if row.vocode_cost]
        made = renderer.vocode([rows[index] for index in ready])
        for index, wave in zip(ready, made, strict=True):
            chunks[index].append(wave)
    return chunks
