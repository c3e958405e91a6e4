"""On a card as on a CPU: the decoder in graphs, both flows, both vocoders."""

from __future__ import annotations

from typing import Any

import cosyvoice_unet
import pytest
import torch
from cosyvoice_dit import TINY, random_flow, random_tokens, random_voice
from cosyvoice_hift import random_mel, random_weights, tiny_config
from cosyvoice_lm import tiny_network
from torch import Tensor

from kouji.engine.device import open_device
from kouji.models.cosyvoice.acoustic.dit_flow import DitFlow
from kouji.models.cosyvoice.acoustic.unet_flow import UNetFlow
from kouji.models.cosyvoice.conditioning import LMPart, LMPiece
from kouji.models.cosyvoice.decode.lm_decoder import LMDecoder
from kouji.models.cosyvoice.vocoder.causal_hift import CausalHift
from kouji.models.cosyvoice.vocoder.plain_hift import PlainHift
from kouji.models.precision import Precision

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
EITHER = pytest.mark.parametrize("version", ["cosyvoice3", "cosyvoice2"])


@EITHER
def test_the_decoder_in_graphs(version: Any) -> None:
    network = tiny_network(version)
    steps = []
    for name in ("cpu", "cuda"):
        device = open_device(name)
        decoder = LMDecoder(network, f"tiny {name}", device=name)
        cache = decoder.new_cache(4, 128)
        pieces = [
            LMPiece((LMPart("sos"), LMPart("text", tuple(range(n))), LMPart("task")))
            for n in (3, 20, 9)
        ]
        slots, lengths = torch.tensor([2, 0, 3]), torch.tensor([p.num_positions for p in pieces])
        logits = [decoder.extend(pieces, cache, slots.tolist(), [0, 0, 0]).cpu()]
        for step in range(12):
            tokens = torch.tensor([step, 2 * step, 40 - step])
            rows = (tokens, lengths + step, lengths + step, slots)
            logits.append(device.run_step(decoder, *rows, cache).cpu())
        steps.append(torch.stack(logits))
    torch.testing.assert_close(steps[1], steps[0], rtol=1e-3, atol=2e-3)


def streamed_mels(flow: Any, voices: list[Any], tokens: list[int]) -> list[Tensor]:
    """One stream and one whole segment in a batch."""
    states = [flow.open(voice, is_streamed=n == 0) for n, voice in enumerate(voices)]
    chunk, ahead = flow.config.chunk_tokens, flow.config.lookahead_tokens
    first = chunk - len(voices[0].tokens) % chunk
    states[0].feed(tokens[: first + ahead], is_final=False)
    states[1].feed(tokens, is_final=True)
    while states[0].num_steps_left:
        flow.step(states)
    made = [states[0].take(), states[1].take()]
    states[0].feed(tokens[first:], is_final=True)
    while states[0].num_steps_left:
        flow.step(states[:1])
    return [torch.cat([made[0], states[0].take()]).cpu(), made[1].cpu()]


@EITHER
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_flows(version: str, precision: Precision) -> None:
    make: Any
    if version == "cosyvoice3":
        config, state, make = TINY, random_flow().state_dict(), DitFlow
        tokens = random_tokens(30)
    else:
        config, make = cosyvoice_unet.TINY, UNetFlow
        state, tokens = cosyvoice_unet.random_state(), cosyvoice_unet.random_tokens(30)
    voices = [
        random_voice(config, 0) if version == "cosyvoice3" else cosyvoice_unet.random_voice(0),
        random_voice(config, 5) if version == "cosyvoice3" else cosyvoice_unet.random_voice(5),
    ]
    wanted = streamed_mels(make(config, state, "cpu"), voices, tokens)
    made = streamed_mels(
        make(config, state, "card", precision=precision, device="cuda"), voices, tokens
    )
    for ours, right in zip(made, wanted, strict=True):
        assert (ours - right).abs().mean() < (2e-3 if precision == "float32" else 2e-2)


@EITHER
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_vocoders(version: Any, precision: Precision) -> None:
    """Three rows of three lengths in one batch."""
    config, mels = tiny_config(version), [random_mel(n, n) for n in (12, 50, 31)]
    make: Any = CausalHift if version == "cosyvoice3" else PlainHift
    sounds = []
    for place, wish in (("cpu", "float32"), ("cuda", precision)):
        vocoder = make(config, random_weights(config), precision=wish, device=place)
        states = [vocoder.open(seed) for seed in range(3)]
        sounds.append([wave.cpu() for wave in vocoder.vocode(states, mels, [True] * 3)])
    for ours, right in zip(*sounds, strict=True):
        assert ours.shape == right.shape
        assert (ours - right).norm() < 0.1 * right.norm()
