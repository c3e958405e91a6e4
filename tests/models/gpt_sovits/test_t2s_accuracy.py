"""Rounded decoders against the exact one, at toy widths."""

from __future__ import annotations

import pytest
import torch

from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.config import T2SConfig
from kouji.models.gpt_sovits.decode_accuracy import compare_precisions
from kouji.models.gpt_sovits.decoder import T2SDecoder
from kouji.models.gpt_sovits.t2s import T2S
from kouji.models.layers.packed_linear import LinearPrecision

TINY = T2SConfig(
    hidden=64,
    num_heads=4,
    num_layers=4,
    feed_forward=128,
    num_phones=40,
    vocabulary=100,
    eos=99,
    bert_channels=16,
)


@pytest.fixture(scope="module")
def network() -> T2S:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = T2S(TINY).eval().requires_grad_(False)
    network.ar_predict_layer.weight.mul_(6)  # distributions as peaked as trained ones
    return network


def inputs() -> list[tuple[TextFeatures, Conditioning]]:
    rng = torch.Generator().manual_seed(1)

    def text(num_phones: int) -> TextFeatures:
        phones = torch.randint(0, TINY.num_phones, (num_phones,), generator=rng)
        return TextFeatures(phones, torch.randn(num_phones, TINY.bert_channels, generator=rng))

    def voice(number: int) -> Conditioning:
        tokens = torch.randint(0, TINY.eos, (9,), generator=rng)
        return Conditioning(text(6), tokens, torch.zeros(1), str(number))

    return [(text(8 + 5 * number), voice(number)) for number in range(4)]


@pytest.mark.parametrize(
    ("precision", "most_kl"),
    [("float32", 1e-9), ("float16", 1e-4), ("bfloat16", 5e-3), ("int8", 1e-2)],
)
def test_rounding_keeps_confident_tokens(
    network: T2S, precision: LinearPrecision, most_kl: float
) -> None:
    exact = T2SDecoder(network, "exact")
    rounded = T2SDecoder(network, "rounded", precision=precision)
    report = compare_precisions(exact, rounded, inputs(), num_tokens=40)
    assert report.num_positions == 160
    assert report.num_confident > 40
    assert report.confident_agreement >= 0.99
    assert report.top1_agreement >= 0.95
    assert -1e-12 <= report.mean_kl <= most_kl


def test_other_weights_do_not_agree(network: T2S) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(9)
        other = T2S(TINY).eval().requires_grad_(False)
    exact, stranger = T2SDecoder(network, "exact"), T2SDecoder(other, "stranger")
    report = compare_precisions(exact, stranger, inputs(), num_tokens=20)
    assert report.top1_agreement < 0.5
    assert report.mean_kl > 0.5
