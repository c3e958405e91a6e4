"""The language model against the official numbers, and its refusal of weights that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cosyvoice_lm import VERSIONS, golden_config, golden_network, tiny_network
from safetensors.torch import load_file
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.decode.lm import TEXT_TABLE, SpeechLM, rotate, rotations

TOLERANCE = 1e-4
Golden = dict[str, Tensor]


@pytest.fixture(scope="module", params=VERSIONS)
def folder(request: pytest.FixtureRequest, shared_dir: Path) -> Path:
    found = shared_dir / "goldens" / request.param
    if not (found / "llm").is_dir():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.fixture(scope="module")
def weights(folder: Path) -> Golden:
    return load_file(folder / "llm" / "weights.safetensors")


@pytest.fixture(scope="module")
def network(folder: Path) -> SpeechLM:
    return golden_network(folder)


@pytest.fixture(scope="module")
def golden(folder: Path) -> Golden:
    return load_file(folder / "llm" / "teacher_forced.safetensors")


def near(ours: Tensor, official: Tensor) -> bool:
    return torch.allclose(ours, official, rtol=0, atol=TOLERANCE)


def embedded(network: SpeechLM, golden: Golden) -> Tensor:
    return network.embed(*(golden[k][0] for k in ("prompt_text", "text", "prompt_speech_token")))


@torch.inference_mode()
def test_whole_sequence(network: SpeechLM, golden: Golden) -> None:
    x = embedded(network, golden)
    assert near(x, golden["lm_input"])
    hidden, _ = network(x)
    assert near(hidden, golden["hidden"])
    assert near(network.logits(hidden), golden["logits"])


@torch.inference_mode()
def test_prefill_and_steps(network: SpeechLM, golden: Golden) -> None:
    x, wanted = embedded(network, golden), golden["cached_logits"][0]
    start = x.shape[1] - len(wanted) + 1
    hidden, past = network(x[:, :start])
    assert near(network.logits(hidden[0, -1]), wanted[0])
    for number in range(1, len(wanted)):
        at = start + number - 1
        hidden, past = network(x[:, at : at + 1], past)
        assert near(network.logits(hidden[0, -1]), wanted[number])


def test_rotation_keeps_lengths_and_relative_positions() -> None:
    x, y = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(1))
    products = []
    for first, second in [(0, 3), (500, 503)]:
        turned = rotate(x, rotations(torch.tensor([first]), 8, 1e6))
        other = rotate(y, rotations(torch.tensor([second]), 8, 1e6))
        assert torch.allclose(turned.norm(), x.norm())
        products.append(float((turned * other).sum()))
    assert products[0] == pytest.approx(products[1], abs=1e-4)
    assert products[0] != pytest.approx(float((x * y).sum()), abs=1e-2)


@pytest.mark.parametrize("version", VERSIONS)
@torch.inference_mode()
def test_random_networks_run(version: str) -> None:
    network = tiny_network(version)  # type: ignore[arg-type]
    nothing = torch.empty(0, dtype=torch.int64)
    hidden, pairs = network(network.embed(nothing, torch.tensor([3, 5]), nothing))
    assert network.logits(hidden).shape == (1, 4, network.config.vocabulary)
    assert pairs[0][0].shape == (1, 2, 4, 8)


def test_half_precision_loads_as_float32_and_the_text_table_is_shared(
    weights: Golden, folder: Path
) -> None:
    halves = {key: value.bfloat16() for key, value in weights.items()}
    network = SpeechLM.from_state(golden_config(folder), halves)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert network.text_table.data_ptr() == halves[TEXT_TABLE].data_ptr()
    assert network.embed_text(torch.tensor([1])).dtype == torch.float32


def test_no_head_and_trainer_entries_are_fine(weights: Golden, folder: Path) -> None:
    state = {**weights, "epoch": 3, "step": 70}
    del state["llm.model.lm_head.weight"]
    SpeechLM.from_state(golden_config(folder), state)  # type: ignore[arg-type]


def test_names_what_does_not_fit(weights: Golden, folder: Path) -> None:
    spoiled = dict(weights)
    del spoiled["llm.model.model.layers.1.mlp.up_proj.weight"]
    spoiled["llm.extra"] = torch.zeros(1)
    spoiled["llm.model.model.norm.weight"] = torch.zeros(5)
    spoiled[TEXT_TABLE] = spoiled[TEXT_TABLE][:9]
    with pytest.raises(ModelError) as caught:
        SpeechLM.from_state(golden_config(folder), spoiled)
    message = str(caught.value)
    assert "missing: llm.model.model.layers.1.mlp.up_proj.weight" in message
    assert "unexpected: llm.extra" in message
    assert "llm.model.model.norm.weight is 5, not 32" in message
    assert f"{TEXT_TABLE} is 9x32, not 1024x32" in message


def test_an_empty_checkpoint_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"layers\.\{0,1\}|layers\.\{0\.\.1\}"):
        SpeechLM.from_state(golden_config(folder), {})
