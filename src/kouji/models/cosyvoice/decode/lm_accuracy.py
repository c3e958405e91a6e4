"""How near a rounded language model stays to the exact one, over tokens drawn as CosyVoice does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kouji.models.cosyvoice.conditioning import Conditioning, TextSegment
from kouji.models.cosyvoice.config import SamplingConfig
from kouji.models.cosyvoice.decode.lm_decoder import LMDecoder
from kouji.models.cosyvoice.decode.official_decode import draw_aware, torch_draw
from kouji.models.teacher_forcing import PrecisionReport, compare_decoders


def compare_precisions(
    exact: LMDecoder,
    rounded: LMDecoder,
    inputs: Sequence[tuple[TextSegment, Conditioning]],
    *,
    num_tokens: int,
    sampling: SamplingConfig | None = None,
    seed: int = 0,
) -> PrecisionReport:
    """Decode `num_tokens` in every input with both decoders over the tokens the exact one draws."""
    draw, options = torch_draw(torch.Generator().manual_seed(seed)), sampling or SamplingConfig()

    def pick(scores: Tensor, used: Tensor) -> Tensor:
        chosen = draw_aware(scores[0].log_softmax(0), used[0].tolist(), draw, options)
        return torch.tensor([chosen.token])

    return compare_decoders(exact, rounded, inputs, pick, num_tokens=num_tokens)
