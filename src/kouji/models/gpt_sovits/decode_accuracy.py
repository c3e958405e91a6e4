"""How near a rounded T2S decoder stays to the exact one, over tokens drawn as GPT-SoVITS does."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.decoder import T2SDecoder
from kouji.models.gpt_sovits.official_decode import draw, probabilities
from kouji.models.stages import SamplingOptions
from kouji.models.teacher_forcing import PrecisionReport, compare_decoders


def compare_precisions(
    exact: T2SDecoder,
    rounded: T2SDecoder,
    inputs: Sequence[tuple[TextFeatures, Conditioning]],
    *,
    num_tokens: int,
    options: SamplingOptions | None = None,
    seed: int = 0,
) -> PrecisionReport:
    """Decode `num_tokens` in every input with both decoders over the tokens the exact one draws.

    options: how those tokens are drawn; the end token never is, so that all rows run on
    """
    rng = torch.Generator().manual_seed(seed)

    def pick(scores: Tensor, used: Tensor) -> Tensor:
        return draw(probabilities(scores, used, options or SamplingOptions()), rng)[0]

    return compare_decoders(exact, rounded, inputs, pick, num_tokens=num_tokens)
