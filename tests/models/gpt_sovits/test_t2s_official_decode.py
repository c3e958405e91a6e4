"""The official loops: exact sequences, upstream's rules at the end, and streams."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kouji.models.gpt_sovits.conditioning import TextFeatures
from kouji.models.gpt_sovits.official_decode import (
    MIN_TOKENS,
    Decoded,
    decode,
    decode_batch,
    mute_similarity,
    probabilities,
    stream,
)
from kouji.models.gpt_sovits.t2s import T2S
from kouji.models.stages import SamplingOptions

GREEDY = SamplingOptions(top_k=1)
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def network(goldens_dir: Path) -> T2S:
    config = json.loads((goldens_dir / "t2s_config.json").read_text())
    return T2S.from_state(load_file(goldens_dir / "t2s_weights.safetensors"), config)


@pytest.fixture(scope="module")
def golden(goldens_dir: Path) -> Arrays:
    return dict(np.load(goldens_dir / "t2s_infer.npz"))


def texts(golden: Arrays) -> list[TextFeatures]:
    count = sum(key.startswith("x") for key in golden)
    return [
        TextFeatures(torch.from_numpy(golden[f"x{i}"]), torch.from_numpy(golden[f"bert{i}"]).T)
        for i in range(count)
    ]


def prompt(golden: Arrays) -> torch.Tensor:
    return torch.from_numpy(golden["prompt"])[0]


def check(decoded: Decoded, golden: Arrays, name: str) -> None:
    assert decoded.tokens.tolist() == golden[f"{name}_y"].reshape(-1).tolist()
    assert decoded.idx == int(golden[f"{name}_idx"])


@pytest.mark.parametrize(("name", "early_stop"), [("greedy{}", 80), ("single_es25_{}", 25)])
def test_single_sequences(network: T2S, golden: Arrays, name: str, early_stop: int) -> None:
    for number, text in enumerate(texts(golden)):
        decoded = decode(network, text, prompt(golden), GREEDY, early_stop=early_stop)
        check(decoded, golden, name.format(number))


@pytest.mark.parametrize("early_stop", [80, 25])
def test_batched_sequences(network: T2S, golden: Arrays, early_stop: int) -> None:
    rows = decode_batch(network, texts(golden), prompt(golden), GREEDY, early_stop=early_stop)
    for number, decoded in enumerate(rows):
        check(decoded, golden, f"batch_es{early_stop}_{number}")


def test_reference_free(network: T2S, golden: Arrays) -> None:
    check(decode(network, texts(golden)[1], None, GREEDY, early_stop=40), golden, "noprompt1")
    alone, batched = (
        decode(network, texts(golden)[1], None, GREEDY, early_stop=40),
        decode_batch(network, texts(golden)[1:2], None, GREEDY, early_stop=40)[0],
    )
    assert torch.equal(alone.spoken, batched.spoken)
    assert torch.equal(alone.spoken, alone.tokens)


def test_cap_drops_the_first_single_and_the_last_batched(network: T2S, golden: Arrays) -> None:
    text, start = texts(golden)[0], prompt(golden)
    cap = MIN_TOKENS - 2  # before the end token is offered
    alone = decode(network, text, start, GREEDY, early_stop=cap)
    [batched] = decode_batch(network, [text], start, GREEDY, early_stop=cap)
    made = alone.tokens[len(start) :]
    assert torch.equal(alone.spoken, made[1:])
    assert torch.equal(batched.spoken, made[:-1])


@pytest.mark.parametrize("name", ["stream_fixed", "stream_mute"])
def test_streams(network: T2S, golden: Arrays, name: str) -> None:
    mute = torch.from_numpy(golden["mute_sim"]) if name == "stream_mute" else None
    chunks = stream(
        network,
        texts(golden)[0],
        prompt(golden),
        GREEDY,
        chunk_tokens=8,
        mute=mute,
        compat=True,
        early_stop=60,
    )
    assert [list(chunk) for chunk in chunks] == json.loads(str(golden[name]))


def test_mute_similarity(network: T2S, golden: Arrays) -> None:
    with torch.inference_mode():
        ours = mute_similarity(network)
    assert np.allclose(ours, golden["mute_sim"], atol=1e-5)


def test_only_compat_repeats_tokens(network: T2S, golden: Arrays) -> None:
    """With made-up tables quiet places lie inside the pending tokens, soon or later."""
    text, start = texts(golden)[0], prompt(golden)
    said = decode(network, text, start, GREEDY, early_stop=60).tokens[len(start) :].tolist()

    def joined(compat: bool, seed: int) -> list[int]:
        rng = torch.Generator().manual_seed(seed)
        mute = torch.rand(network.config.vocabulary, generator=rng)
        chunks = stream(
            network,
            text,
            start,
            GREEDY,
            chunk_tokens=4,
            mute=mute,
            compat=compat,
            early_stop=60,
        )
        return [token for tokens, _ in chunks for token in tokens or []]

    assert all(joined(False, seed) == said for seed in range(3))
    assert any(len(joined(True, seed)) > len(said) for seed in range(10))


def test_sampling_is_repeatable_and_keeps_the_minimum(network: T2S, golden: Arrays) -> None:
    options = SamplingOptions(temperature=1.3, top_k=50, top_p=0.9)
    runs = [
        decode(
            network,
            texts(golden)[0],
            prompt(golden),
            options,
            early_stop=40,
            rng=torch.Generator().manual_seed(5),
        )
        for _ in range(2)
    ]
    assert torch.equal(runs[0].tokens, runs[1].tokens)
    assert len(runs[0].spoken) >= MIN_TOKENS


def test_probabilities(goldens_dir: Path) -> None:
    arrays = np.load(goldens_dir / "sampler.npz")
    cases = json.loads((goldens_dir / "sampler_cases.json").read_text())
    for case in cases:
        number = case["i"]
        logits = torch.from_numpy(arrays[f"logits{number}"]).clone()
        used = torch.from_numpy(arrays[f"prev{number}"]).long().reshape(len(logits), -1)
        options = SamplingOptions(
            temperature=case["temperature"],
            top_k=case["top_k"] or case["vocab"],
            top_p=1.0 if case["top_p"] is None else case["top_p"],
            repetition_penalty=case["repetition_penalty"],
        )
        chances = probabilities(logits, used, options)
        assert np.allclose(chances, arrays[f"probs{number}"], atol=1e-6)
        assert np.allclose(logits, arrays[f"logits_after{number}"], atol=1e-6)
