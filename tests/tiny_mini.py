"""A `mini` of toy widths with fixed random weights: real classes, real code paths."""

from __future__ import annotations

import torch

from kouji.models.mini.config import MiniConfig
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.vocoder import Vocoder
from kouji.models.mini.weights import Checkpoint

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
