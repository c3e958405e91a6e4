"""The official loop: exact sequences at given random numbers, and its sampler alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from cosyvoice_lm import VERSIONS, golden_network, tiny_network
from safetensors.torch import load_file
from torch import Tensor

from kouji.models.cosyvoice.config import SamplingConfig
from kouji.models.cosyvoice.decode.lm import SpeechLM
from kouji.models.cosyvoice.decode.official_decode import (
    Decoded,
    Draw,
    decode,
    draw_aware,
    inverse_draw,
    nucleus,
    torch_draw,
)


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request: pytest.FixtureRequest, shared_dir: Path) -> Path:
    found = shared_dir / "goldens" / request.param
    if not (found / "llm").is_dir():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.fixture(scope="module")
def network(folder: Path) -> SpeechLM:
    return golden_network(folder)


@pytest.fixture(scope="module")
def inputs(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "llm" / "decode_inputs.safetensors")


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "llm" / "decode_runs.json").read_text())


def run(
    network: SpeechLM, inputs: dict[str, Tensor], name: str, draw: Draw, ratios: dict[str, float]
) -> Decoded:
    parts = [inputs[f"{name}.{part}"][0] for part in ("prompt_text", "text", "prompt_speech_token")]
    low, high = ratios["min_ratio"], ratios["max_ratio"]
    return decode(network, *parts, draw, min_ratio=low, max_ratio=high)


def test_official_sequences(
    network: SpeechLM, inputs: dict[str, Tensor], runs: dict[str, Any]
) -> None:
    cases = [name for name in runs if name not in ("bistream", "torch_rng_1234")]
    assert len(cases) >= 4
    for name in cases:
        wanted = runs[name]
        uniforms = iter(inputs[f"{name}.uniforms"].tolist())
        decoded = run(network, inputs, name, inverse_draw(uniforms), wanted)
        assert decoded.tokens == wanted["tokens"], name
        assert [list(pick) for pick in decoded.picks] == wanted["steps"], name
        assert len(inputs[f"{name}.uniforms"]) - len(list(uniforms)) == wanted["draws_used"], name


def test_official_random_numbers(
    network: SpeechLM, inputs: dict[str, Tensor], runs: dict[str, Any]
) -> None:
    ratios = {"min_ratio": 2.0, "max_ratio": 4.0}
    draw = torch_draw(torch.Generator().manual_seed(1234))
    decoded = run(network, inputs, "zero_shot_0", draw, ratios)
    assert decoded.tokens == runs["torch_rng_1234"]["tokens"]


def test_official_draws(shared_dir: Path) -> None:
    folder = shared_dir / "goldens" / "cosyvoice3" / "ras"
    if not folder.is_dir():
        pytest.skip(f"no vectors at {folder}")
    said = json.loads((folder / "cases.json").read_text())
    logp = load_file(folder / "logp.safetensors")
    names = {"top_p": "top_p", "top_k": "top_k", "win_size": "window", "tau_r": "share"}
    sampling = SamplingConfig(**{names[key]: value for key, value in said["params"].items()})
    for case in said["cases"]:
        scores = logp[f"case{case['id']:02d}.logp"]
        pick = draw_aware(scores, case["decoded"], inverse_draw(iter(case["u"])), sampling)
        assert pick.first == case["first_pick"]
        assert (pick.again is not None) == case["resampled"]
        assert pick.token == case["token"]
        assert len(nucleus(scores, sampling)[1]) == case["nucleus_size"]


def test_the_nucleus_keeps_the_token_that_crosses() -> None:
    logp = torch.tensor([0.5, 0.25, 0.15, 0.1]).log()
    assert nucleus(logp, SamplingConfig(top_p=0.6))[1].tolist() == [0, 1]
    assert nucleus(logp, SamplingConfig(top_p=0.0))[1].tolist() == [0]
    assert nucleus(logp, SamplingConfig(top_p=1.0, top_k=3))[1].tolist() == [0, 1, 2]


def test_the_largest_number_below_one_draws_the_last_place() -> None:
    draw = inverse_draw(iter([0.9999999999999999]))
    assert draw(torch.tensor([0.25, 0.75])) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_the_minimum_holds_in_version_2_only(version: str) -> None:
    network = tiny_network(version)  # type: ignore[arg-type]
    network.llm_decoder.weight.zero_()
    bias = torch.zeros(network.config.vocabulary)
    bias[network.config.first_stop :] = -50.0
    bias[network.config.eos] = 50.0
    network.llm_decoder.bias = torch.nn.Parameter(bias, requires_grad=False)
    nothing, text = torch.empty(0, dtype=torch.int64), torch.tensor([1, 2, 3])
    rng = torch.Generator().manual_seed(3)
    decoded = decode(network, nothing, text, nothing, torch_draw(rng), max_ratio=4.0)
    assert len(decoded.tokens) == (0 if version == "cosyvoice3" else 6)
    assert decoded.is_stopped
