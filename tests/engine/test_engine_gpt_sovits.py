"""Promise 1 on real networks: GPT-SoVITS at toy widths, random weights, float32."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from engine_harness import streamed
from gs_sovits import TINY, tiny_networks
from tiny_gpt_sovits import T2S as TOY
from tiny_gpt_sovits import _random

from kouji.engine.engine import Engine
from kouji.engine.guard import GuardOptions
from kouji.engine.request import EngineRequest
from kouji.engine.settings import EngineSettings
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.decoder import T2SDecoder
from kouji.models.gpt_sovits.keys import expected_t2s
from kouji.models.gpt_sovits.renderer import SoVITSRenderer
from kouji.models.gpt_sovits.t2s import T2S
from kouji.models.stages import SpeechModel

TOLERANCE = 1e-4
SIZES = replace(
    TOY, num_phones=TINY.num_phones, vocabulary=TINY.codebook_size + 1, eos=TINY.codebook_size
)


@pytest.fixture(scope="module")
def models() -> list[SpeechModel]:
    """Three sets of fine-tuned weights; two of them share a renderer."""
    renderers = [SoVITSRenderer(tiny_networks(seed), f"sovits-{seed}") for seed in range(2)]
    made = []
    for seed in range(3):
        network = T2S.from_state(_random(expected_t2s(SIZES), seed), {})
        made.append(SpeechModel(renderers[seed % 2], T2SDecoder(network, f"t2s-{seed}")))
    return made


@pytest.fixture
def engine() -> Iterator[Engine]:
    settings = EngineSettings(device="cpu", max_seats=6, max_positions=512, render_wait_ms=20.0)
    with Engine(settings) as made:
        yield made
        made.check_integrity()


def text(seed: int, num_phones: int) -> TextFeatures:
    rng = torch.Generator().manual_seed(seed)
    phones = torch.randint(1, TINY.num_phones, (num_phones,), generator=rng)
    return TextFeatures(phones, torch.randn(num_phones, SIZES.bert_channels, generator=rng))


def make_request(model: SpeechModel, number: int) -> EngineRequest:
    rng = torch.Generator().manual_seed(number % 4)
    tokens = torch.randint(0, TINY.codebook_size, (10 + number % 4,), generator=rng)
    style = torch.randn(model.renderer.config.style_channels, generator=rng)  # type: ignore[attr-defined]
    voice = Conditioning(text(90 + number % 4, 8), tokens, style, f"voice-{number % 4}")
    segments = tuple(text(number * 3 + part, 4 + number % 5) for part in range(1 + number % 2))
    guard = GuardOptions(max_retries=1)  # toy weights babble until they are stopped
    return EngineRequest(model, segments, voice, seed=number, guard=guard)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_real_networks_hear_nothing_of_company(
    engine: Engine, models: list[SpeechModel], is_streamed: bool
) -> None:
    """Whole, and in the chunks of the family's own definition of streaming."""
    count = 6
    requests = [make_request(models[number % 3], number) for number in range(count)]
    requests = [streamed(request) if is_streamed else request for request in requests]
    alone = [engine.submit(request).result() for request in requests]
    order = list(range(count))
    random.Random(5).shuffle(order)
    tickets = {number: engine.submit(requests[number]) for number in order}
    for number, whole in enumerate(alone):
        made = tickets[number].result()
        assert [o.num_tokens for o in made.outcomes] == [o.num_tokens for o in whole.outcomes]
        assert [o.retries for o in made.outcomes] == [o.retries for o in whole.outcomes]
        np.testing.assert_allclose(made.samples, whole.samples, atol=TOLERANCE)
    assert max(engine.stats().batches["step"]) > 1, "they did meet"
