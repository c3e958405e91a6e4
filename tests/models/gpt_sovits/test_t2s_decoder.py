"""The fast decoder: official tokens, rows blind to each other, prompts, precisions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kouji.errors import ModelError, TextError
from kouji.models.gpt_sovits import decoder as decoder_module
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.config import T2SConfig
from kouji.models.gpt_sovits.decoder import T2SDecoder
from kouji.models.gpt_sovits.official_decode import decode
from kouji.models.gpt_sovits.prompts import plausible_tokens
from kouji.models.gpt_sovits.t2s import T2S
from kouji.models.stages import SamplingOptions

TINY = T2SConfig(
    hidden=32,
    num_heads=4,
    num_layers=3,
    feed_forward=64,
    num_phones=40,
    vocabulary=60,
    eos=59,
    bert_channels=24,
)
GREEDY = SamplingOptions(top_k=1)


def tiny_network() -> T2S:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = T2S(TINY).eval().requires_grad_(False)
    network.ar_predict_layer.weight.mul_(4)
    network.ar_predict_layer.weight[TINY.eos] = 0  # never the likeliest
    return network


@pytest.fixture(scope="module")
def network() -> T2S:
    return tiny_network()


@pytest.fixture(scope="module")
def decoder(network: T2S) -> T2SDecoder:
    return T2SDecoder(network, "tiny")


def text(num_phones: int, seed: int = 0) -> TextFeatures:
    rng = torch.Generator().manual_seed(seed)
    phones = torch.randint(0, TINY.num_phones, (num_phones,), generator=rng)
    return TextFeatures(phones, torch.randn(num_phones, TINY.bert_channels, generator=rng))


def voice(num_tokens: int = 12, seed: int = 1) -> Conditioning:
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, TINY.eos, (num_tokens,), generator=rng)
    return Conditioning(text(7, seed + 50), tokens, torch.zeros(8), f"voice {seed}")


FREE = Conditioning(None, None, torch.zeros(8), "free")


def run(
    decoder: T2SDecoder, rows: list[tuple[TextFeatures, Conditioning]], steps: int, seed: int = 0
) -> tuple[list[list[int]], list[torch.Tensor]]:
    """Greedy tokens without penalty of rows in scattered slots, and all logits."""
    prompts = [decoder.prompt(*row) for row in rows]
    cache = decoder.new_cache(len(rows) + 2, 256)
    slots = torch.randperm(len(rows) + 2, generator=torch.Generator().manual_seed(seed))
    slots = slots[: len(rows)]
    logits = [decoder.prefill(prompts, cache, slots.tolist())]
    tokens = [logits[0].argmax(-1)]
    for step in range(steps):
        positions = torch.tensor([prompt.next_position + step for prompt in prompts])
        lengths = torch.tensor([prompt.num_positions + step for prompt in prompts])
        logits.append(decoder.step(tokens[-1], positions, lengths, slots, cache))
        tokens.append(logits[-1].argmax(-1))
    return torch.stack(tokens, dim=1).tolist(), [
        torch.stack(row) for row in zip(*logits, strict=True)
    ]


def joined(segment: TextFeatures, spoken: Conditioning) -> TextFeatures:
    if spoken.prompt is None:
        return segment
    parts = (spoken.prompt, segment)
    return TextFeatures(torch.cat([p.phones for p in parts]), torch.cat([p.bert for p in parts]))


@pytest.mark.parametrize("spoken", [voice(), FREE], ids=["prompted", "free"])
@pytest.mark.parametrize("for_graphs", [False, True])
def test_equals_the_official_loop(network: T2S, spoken: Conditioning, for_graphs: bool) -> None:
    fast = T2SDecoder(network, "tiny", for_graphs=for_graphs)
    options = SamplingOptions(top_k=1, repetition_penalty=1.0)
    text_ = text(9)
    official = decode(network, joined(text_, spoken), spoken.prompt_tokens, options, early_stop=40)
    [ours], [logits] = run(fast, [(text_, spoken)], 40)
    assert ours == official.tokens[-41:].tolist()
    assert logits.dtype == torch.float32


@torch.inference_mode()
def test_equals_the_golden_greedy_tokens(goldens_dir: Path) -> None:
    """Official weights, penalty and all; every row of the file in one batch."""
    config = json.loads((goldens_dir / "t2s_config.json").read_text())
    network = T2S.from_state(load_file(goldens_dir / "t2s_weights.safetensors"), config)
    golden = dict(np.load(goldens_dir / "t2s_infer.npz"))
    count = sum(key.startswith("greedy") and key.endswith("_y") for key in golden)
    start = torch.from_numpy(golden["prompt"])[0]
    fast = T2SDecoder(network, "golden")
    prompts = []
    for i in range(count):
        phones = torch.from_numpy(golden[f"x{i}"])
        bert = torch.from_numpy(golden[f"bert{i}"]).T
        first, rest = TextFeatures(phones[:4], bert[:4]), TextFeatures(phones[4:], bert[4:])
        spoken = Conditioning(first, start, torch.zeros(1), str(i))
        prompts.append(fast.prompt(rest, spoken))
    wanted = [golden[f"greedy{i}_y"][len(start) :].tolist() for i in range(count)]
    longest = max(map(len, wanted))
    cache = fast.new_cache(count, max(prompt.num_positions for prompt in prompts) + longest + 1)
    slots = torch.arange(count)
    logits = fast.prefill(prompts, cache, slots.tolist())
    made: list[list[int]] = [[] for _ in range(count)]
    for step in range(longest):
        for row in range(count):
            used = torch.cat([start, torch.tensor(made[row], dtype=torch.int64)]).unique()
            score = logits[row, used]
            logits[row, used] = torch.where(score < 0, score * 1.35, score / 1.35)
            if step < prompts[row].min_tokens:
                logits[row, fast.eos] = -torch.inf
            made[row].append(int(logits[row].argmax()))
        tokens = torch.tensor([row[-1] for row in made])
        positions = torch.tensor([prompt.next_position + step for prompt in prompts])
        lengths = torch.tensor([prompt.num_positions + step for prompt in prompts])
        logits = fast.step(tokens, positions, lengths, slots, cache)
    for row, tokens_wanted in zip(made, wanted, strict=True):
        assert row[: len(tokens_wanted)] == tokens_wanted


@pytest.mark.parametrize("for_graphs", [False, True])
def test_batched_equals_single(network: T2S, for_graphs: bool) -> None:
    fast = T2SDecoder(network, "tiny", for_graphs=for_graphs)
    rows = [(text(3 + 20 * i, i), [voice(5 + i, i), FREE][i % 3 == 2]) for i in range(5)]
    together, logits = run(fast, rows, 30)
    for number, row in enumerate(rows):
        [alone], [alone_logits] = run(fast, [row], 30, seed=number)
        assert alone == together[number]
        assert torch.allclose(alone_logits, logits[number], rtol=0, atol=1e-5)


def test_static_path_equals_the_cpu_path(network: T2S, decoder: T2SDecoder) -> None:
    rows = [(text(9, 1), voice(6)), (text(30, 2), FREE)]
    static = T2SDecoder(network, "tiny", for_graphs=True)
    ours, theirs = run(decoder, rows, 20), run(static, rows, 20)
    assert ours[0] == theirs[0]
    for one, other in zip(ours[1], theirs[1], strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-4)


def test_static_path_within_a_bucket(network: T2S) -> None:
    static = T2SDecoder(network, "tiny", for_graphs=True)
    prompt = static.prompt(text(9), voice(6))
    cache = static.new_cache(2, 128)
    static.prefill([prompt], cache, [1])
    row = [torch.tensor([n]) for n in (3, prompt.next_position, prompt.num_positions, 1)]
    whole = static.step(*row, cache)
    assert torch.allclose(static.step(*row, cache, num_positions=32), whole, atol=1e-5)


def test_static_step_reads_no_tensor(network: T2S) -> None:
    """On the meta device there is nothing to read: what runs there can be recorded on a GPU."""
    static = T2SDecoder(network, "tiny", device="meta")
    cache = static.new_cache(4, 64)
    rows = [torch.empty(3, dtype=torch.int64, device="meta") for _ in range(4)]
    assert static.step(*rows, cache, num_positions=32).shape == (3, TINY.vocabulary)


def test_a_cache_made_in_inference_mode_can_be_written_outside(decoder: T2SDecoder) -> None:
    with torch.inference_mode():
        cache = decoder.new_cache(2, 100)
    cache.copy_in(1, cache.copy_out(0, 50))


def test_a_kept_prefix_stands_for_prefill(decoder: T2SDecoder) -> None:
    prompt = decoder.prompt(text(9), voice())
    cache = decoder.new_cache(3, 200)
    decoder.prefill([prompt], cache, [0])
    cache.copy_in(2, cache.copy_out(0, prompt.num_positions))
    at = [torch.full((2,), n) for n in (5, prompt.next_position, prompt.num_positions)]
    first, second = decoder.step(*at, torch.tensor([0, 2]), cache)
    assert torch.equal(first, second)


def test_prompt_facts(decoder: T2SDecoder) -> None:
    prompt = decoder.prompt(text(9), voice(12))
    assert prompt.num_positions == 7 + 9 + 12
    assert prompt.next_position == 12
    assert torch.equal(prompt.history, voice(12).prompt_tokens)
    assert (prompt.num_phones, prompt.min_tokens, prompt.max_tokens) == (9, 11, 1500)
    free = decoder.prompt(text(9), FREE)
    assert (free.num_positions, free.next_position, len(free.history)) == (9, 0, 0)


def test_prefix_key_tells_inputs_apart(decoder: T2SDecoder) -> None:
    same = text(9)
    loud = TextFeatures(same.phones, same.bert + 1)
    pairs = [(same, voice()), (text(9, 1), voice()), (loud, voice()), (same, voice(seed=2))]
    keys = [decoder.prompt(*pair).prefix_key for pair in pairs]
    assert len(set(keys)) == len(keys)
    assert decoder.prompt(text(9), voice()).prefix_key == keys[0]


def test_plausible_tokens() -> None:
    assert plausible_tokens(1) == (11, 59)
    low, high = plausible_tokens(120)
    assert (low, high) == (120, 1050)


def test_short_checkpoints_stop_earlier() -> None:
    short = T2SDecoder(T2S(replace(TINY, max_seconds=4)).requires_grad_(False), "short")
    assert short.prompt(text(3), FREE).max_tokens == 200


def test_bad_inputs_are_named(decoder: T2SDecoder) -> None:
    known = text(3)
    with pytest.raises(ModelError, match="unknown phone"):
        decoder.prompt(TextFeatures(known.phones + TINY.num_phones, known.bert), FREE)
    with pytest.raises(ModelError, match="BERT"):
        decoder.prompt(TextFeatures(known.phones, known.bert[:, :5]), FREE)
    with pytest.raises(TextError, match="nothing to speak"):
        decoder.prompt(text(0), FREE)
    with pytest.raises(TextError, match="too long"):
        decoder.prompt(text(5000), voice())


def test_voices_are_kept_and_forgotten(network: T2S, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "KEPT_VOICES", 2)
    fast = T2SDecoder(network, "tiny")
    before = run(fast, [(text(9), voice(seed=1))], 3)[0]
    for seed in (2, 3, 4):
        run(fast, [(text(9), voice(seed=seed))], 0)
    assert len(fast._voices) == 2
    assert run(fast, [(text(9), voice(seed=1))], 3)[0] == before


def test_size_and_cache_key(network: T2S, decoder: T2SDecoder) -> None:
    half = T2SDecoder(network, "tiny", precision="bfloat16")
    small = T2SDecoder(network, "tiny", precision="int8")
    assert small.num_bytes < half.num_bytes < decoder.num_bytes
    assert half.cache_key == small.cache_key != decoder.cache_key
    assert half.slot_bytes(100) * 2 == decoder.slot_bytes(100)
    assert decoder.new_cache(3, 100).num_bytes == 3 * decoder.slot_bytes(100)


def test_the_network_is_not_changed(network: T2S) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    T2SDecoder(network, "tiny", precision="int8")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
