"""What a step of version 3's flow costs, counted from its sizes."""

from __future__ import annotations

from collections.abc import Sequence

from kouji.models.cosyvoice.acoustic.dit import POSITION_GROUPS, POSITION_TAPS
from kouji.models.cosyvoice.acoustic.flow_attention import Span
from kouji.models.cosyvoice.config import MELS, DiTConfig

BRANCHES = 2


def step_flops(config: DiTConfig, num_frames: int, spans: Sequence[Span]) -> int:
    """Multiplications and additions of one Euler step, both branches, norms not counted.

    spans: of the attention, over these frames
    """
    pairs = sum((span.end - span.begin) * span.num_keys for span in spans)
    inner = config.num_heads * config.head_width
    attention = config.depth * 2 * inner * pairs
    return 2 * BRANCHES * (num_frames * _frame_products(config) + attention)


def _frame_products(config: DiTConfig) -> int:
    dim, inner = config.dim, config.num_heads * config.head_width
    block = 4 * dim * inner + 2 * config.ff_mult * dim * dim
    convolutions = 2 * POSITION_TAPS * dim * dim // POSITION_GROUPS
    return 2 * MELS * dim + convolutions + config.depth * block
