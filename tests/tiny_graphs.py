"""Toy checkpoints for graphs: `mini` that draws its readings, and one that does not."""

from __future__ import annotations

from dataclasses import replace

import torch
from tiny_mini import TINY, make_tiny_checkpoint

from kouji.models.mini.model import AcousticModel
from kouji.models.mini.weights import Checkpoint

DRAWN = replace(
    TINY,
    prosody_width=12,
    prosody_hidden=16,
    prosody_speaker=8,
    prosody_dilations=(1, 2),
    prosody_flow_dilations=(1,),
)


def make_drawn_checkpoint() -> Checkpoint:
    """The toy checkpoint with a prosody that noise decides."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        acoustic = AcousticModel(DRAWN).eval()
    return replace(make_tiny_checkpoint(), acoustic=acoustic, pace=1.25)
