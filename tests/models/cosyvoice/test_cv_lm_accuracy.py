"""Rounded language models against the exact one, at toy widths."""

from __future__ import annotations

import pytest
import torch
from cosyvoice_lm import VERSIONS, tiny_network

from kouji.models.cosyvoice.conditioning import Conditioning, TextSegment
from kouji.models.cosyvoice.decode.lm import SpeechLM
from kouji.models.cosyvoice.decode.lm_accuracy import compare_precisions
from kouji.models.cosyvoice.decode.lm_decoder import LMDecoder
from kouji.models.layers.packed_linear import LinearPrecision


def wide_network(seed: int = 4, version: str = VERSIONS[0]) -> SpeechLM:
    return tiny_network(
        version,  # type: ignore[arg-type]
        seed,
        num_layers=4,
        hidden=64,
        head_width=16,
        intermediate=128,
    )


def inputs() -> list[tuple[TextSegment, Conditioning]]:
    rng = torch.Generator().manual_seed(1)

    def ids(count: int, most: int) -> torch.Tensor:
        return torch.randint(0, most, (count,), generator=rng)

    def pair(number: int) -> tuple[TextSegment, Conditioning]:
        count = 6 + 5 * number
        before = torch.cat([ids(4, 90), torch.tensor([100])])
        spoken = Conditioning(str(number), ids(9, 70), torch.zeros(1), torch.zeros(1))
        return TextSegment(before, ids(count, 90), "zero_shot", count), spoken

    return [pair(number) for number in range(4)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("precision", "most_kl"),
    [("float32", 1e-9), ("float16", 1e-4), ("bfloat16", 5e-3), ("int8", 1e-2)],
)
def test_rounding_keeps_confident_tokens(
    version: str, precision: LinearPrecision, most_kl: float
) -> None:
    network = wide_network(version=version)
    exact = LMDecoder(network, "exact")
    rounded = LMDecoder(network, "rounded", precision=precision)
    report = compare_precisions(exact, rounded, inputs(), num_tokens=40)
    assert report.num_positions == 160
    assert report.num_confident > 40
    assert report.confident_agreement >= 0.99
    assert report.top1_agreement >= 0.95
    assert -1e-12 <= report.mean_kl <= most_kl


def test_other_weights_do_not_agree() -> None:
    exact = LMDecoder(wide_network(), "exact")
    stranger = LMDecoder(wide_network(seed=9), "stranger")
    report = compare_precisions(exact, stranger, inputs(), num_tokens=20)
    assert report.top1_agreement < 0.5
    assert report.mean_kl > 0.5
