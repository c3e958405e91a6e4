"""Sizes are the checkpoint's: networks of drawn sizes, the fast ones against the plain ones."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import cosyvoice_unet
import pytest
import torch
from cosyvoice_dit import random_flow
from cosyvoice_hift import PlainVocoder, random_mel, random_weights
from cosyvoice_lm import tiny_network

from kouji.models.cosyvoice.acoustic.dit_flow import DitFlow
from kouji.models.cosyvoice.acoustic.unet_flow import UNetFlow
from kouji.models.cosyvoice.conditioning import Conditioning, TextSegment
from kouji.models.cosyvoice.config import DiTConfig, FlowConfig, HiftConfig, UNetConfig, Version
from kouji.models.cosyvoice.decode.lm_decoder import LMDecoder
from kouji.models.cosyvoice.vocoder.causal_hift import CausalHift
from kouji.models.cosyvoice.vocoder.plain_hift import PlainHift

VERSIONS: tuple[Version, ...] = ("cosyvoice3", "cosyvoice2")
EITHER = pytest.mark.parametrize("version", VERSIONS)
DRAWS = pytest.mark.parametrize("seed", range(4))


@EITHER
@DRAWS
@torch.inference_mode()
def test_language_models(version: Version, seed: int) -> None:
    draw = random.Random(seed)
    group, num_kv_heads = draw.randint(1, 4), draw.randint(1, 3)
    codebook, text_rows = draw.randint(11, 90), draw.randint(30, 200)
    network = tiny_network(
        version, seed,
        num_layers=draw.randint(1, 3), hidden=8 * draw.randint(2, 6),
        num_heads=group * num_kv_heads, num_kv_heads=num_kv_heads,
        head_width=2 * draw.randint(2, 9), intermediate=4 * draw.randint(3, 20),
        codebook=codebook, text_rows=text_rows, end_of_prompt=text_rows - 1,
    )  # fmt: skip
    rng = torch.Generator().manual_seed(seed)
    speech = torch.randint(codebook, (draw.randint(0, 40),), generator=rng)
    text = torch.randint(text_rows, (draw.randint(1, 30),), generator=rng)
    voice = Conditioning("v", speech, torch.zeros(1), torch.zeros(1))
    segment = TextSegment(torch.tensor([text_rows - 1]), text, "zero_shot", len(text))
    decoder = LMDecoder(network, "drawn")
    prompt = decoder.prompt(segment, voice)
    cache = decoder.new_cache(2, 128)
    ours = [decoder.prefill([prompt], cache, [1])[0]]
    hidden, past = network(network.embed(segment.prompt_text, text, speech))
    wanted = [network.logits(hidden[0, -1])]
    for step in range(8):
        token = wanted[-1].argmax().view(1)
        at = torch.tensor([prompt.num_positions + step])
        ours.append(decoder.step(token, at, at, torch.tensor([1]), cache)[0])
        hidden, past = network(network.embed_speech(token[None]), past)
        wanted.append(network.logits(hidden[0, -1]))
    torch.testing.assert_close(torch.stack(ours), torch.stack(wanted), rtol=0, atol=2e-4)


def drawn_flow(version: Version, draw: random.Random) -> FlowConfig:
    heads = draw.randint(1, 4)
    estimator: Any
    if version == "cosyvoice3":
        estimator = DiTConfig(
            dim=16 * draw.randint(1, 4), depth=draw.randint(1, 3), num_heads=heads,
            head_width=2 * draw.randint(2, 8), ff_mult=draw.randint(1, 4),
        )  # fmt: skip
        width = 4 * draw.randint(2, 12)
    else:
        encoder_heads = draw.randint(1, 3)
        width = encoder_heads * 2 * draw.randint(3, 8)
        estimator = UNetConfig(
            encoder_dim=width, encoder_heads=encoder_heads, encoder_ff=4 * draw.randint(2, 12),
            num_blocks=draw.randint(1, 3), num_up_blocks=draw.randint(1, 2),
            channels=8 * draw.randint(1, 4), num_mid_blocks=draw.randint(1, 3),
            num_transformers=draw.randint(1, 2), num_heads=heads, head_width=2 * draw.randint(2, 8),
        )  # fmt: skip
    return FlowConfig(
        version, draw.randint(9, 90), draw.randint(2, 9), lookahead_channels=width,
        num_steps=draw.randint(1, 5), cfg_rate=draw.choice([0.0, 0.7, 1.5]), estimator=estimator,
    )  # fmt: skip


@EITHER
@DRAWS
def test_flows(version: Version, seed: int) -> None:
    draw = random.Random(100 + seed)
    config, num_prompt = drawn_flow(version, draw), draw.randint(0, 30)
    voice = cosyvoice_unet.random_voice(num_prompt, config, seed)
    tokens = cosyvoice_unet.random_tokens(draw.randint(1, 40), config, seed + 1)
    plain: Any
    fast: Any
    if version == "cosyvoice3":
        plain = random_flow(config, seed)
        fast, word = DitFlow(config, plain.state_dict(), "drawn"), "is_streamed"
    else:
        state = cosyvoice_unet.random_state(config, seed)
        plain = cosyvoice_unet.plain(config, state)
        fast, word = UNetFlow(config, state, "drawn"), "is_streaming"
    chunk, ahead = config.chunk_tokens, config.lookahead_tokens
    for is_streamed in (False, True):
        wanted = plain.render(voice, torch.tensor(tokens), **{word: is_streamed}, is_final=True)
        state, mels, begin = fast.open(voice, is_streamed=is_streamed), [], 0
        ends = range(chunk - num_prompt % chunk, len(tokens) - ahead + 1, chunk)
        for end in [*(ends if is_streamed else ()), len(tokens)]:
            is_final = end == len(tokens)
            state.feed(tokens[begin : end + ahead * (not is_final)], is_final=is_final)
            while state.num_steps_left:
                fast.step([state])
            mels.append(state.take())
            begin = end
        torch.testing.assert_close(torch.cat(mels), wanted, rtol=1e-4, atol=2e-4)


@EITHER
@DRAWS
def test_vocoders(version: Version, seed: int) -> None:
    draw = random.Random(200 + seed)
    kernels = tuple(draw.sample([3, 5, 7, 9, 11], draw.randint(1, 3)))
    config = replace(
        HiftConfig(version),
        base_channels=8 * draw.randint(1, 4), f0_channels=4 * draw.randint(1, 6),
        num_harmonics=draw.randint(0, 9), resblock_kernels=kernels,
        resblock_dilations=tuple(draw.choice([(1, 3, 5), (1, 2, 4)]) for _ in kernels),
    )  # fmt: skip
    maker: Any = CausalHift if version == "cosyvoice3" else PlainHift
    weights, mel = random_weights(config, seed), random_mel(draw.randint(1, 50), seed)
    vocoder = maker(config, weights)
    noise = vocoder.noise.rows(seed, 0, len(mel) * 480)[:, : config.num_harmonics + 1]
    [wave] = vocoder.vocode([vocoder.open(seed)], [mel], [True])
    wanted = PlainVocoder(config, weights)(mel, noise)
    assert wave.shape == wanted.shape
    bound = 2e-5 if version == "cosyvoice3" else 0.05
    assert (wave - wanted).norm() <= bound * wanted.norm() + 1e-5
