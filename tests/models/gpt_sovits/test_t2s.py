"""T2S against the numbers of the official network, and its refusal of weights that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.gpt_sovits.t2s import T2S, prefix_mask

TOLERANCE = 1e-4
Golden = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights(goldens_dir: Path) -> dict[str, Tensor]:
    return load_file(goldens_dir / "t2s_weights.safetensors")


@pytest.fixture(scope="module")
def config(goldens_dir: Path) -> dict[str, Any]:
    return json.loads((goldens_dir / "t2s_config.json").read_text())


@pytest.fixture(scope="module")
def network(weights: dict[str, Tensor], config: dict[str, Any]) -> T2S:
    return T2S.from_state(weights, config)


@pytest.fixture(scope="module")
def golden(goldens_dir: Path) -> Golden:
    arrays = np.load(goldens_dir / "t2s_infer.npz")
    return {k: torch.from_numpy(arrays[k]) for k in arrays.files if arrays[k].dtype.kind != "U"}


def near(ours: Tensor, official: Tensor) -> bool:
    return torch.allclose(ours, official, rtol=0, atol=TOLERANCE)


@torch.inference_mode()
def prefix(network: T2S, golden: Golden) -> tuple[Tensor, Tensor]:
    phones = network.embed_phones(golden["x0"], golden["bert0"].T)[None]
    tokens = network.ar_audio_embedding(golden["prompt"])
    return network.ar_text_position(phones), network.ar_audio_position(tokens)


@torch.inference_mode()
def test_embeddings(network: T2S, golden: Golden) -> None:
    phones, tokens = prefix(network, golden)
    bare = network.embed_phones(golden["x0"], golden["bert0"].T)[None]
    assert near(bare, golden["d_text_sum"])
    assert near(phones, golden["d_text_pos"])
    assert near(tokens, golden["d_audio_pos"])


def test_mask(golden: Golden) -> None:
    mask = prefix_mask(len(golden["x0"]), golden["prompt"].shape[1])
    assert torch.equal(mask, ~golden["d_mask"])


@torch.inference_mode()
def test_prefill_and_steps(network: T2S, golden: Golden) -> None:
    phones, tokens = prefix(network, golden)
    mask = prefix_mask(phones.shape[1], tokens.shape[1])
    hidden, past = network(torch.cat([phones, tokens], dim=1), mask)
    assert near(hidden, golden["d_prefill_hidden"])
    assert near(network.logits(hidden[:, -1]), golden["d_prefill_logits"])
    assert near(past[0][0], golden["d_k0"])
    assert near(past[-1][1], golden["d_v_last"])
    for number, token in enumerate(golden["d_forced"]):
        embedded = network.ar_audio_embedding(token.view(1, 1))
        x = network.ar_audio_position(embedded, tokens.shape[1] + number)
        hidden, past = network(x, None, past)
        assert near(network.logits(hidden[0, -1]), golden["d_step_logits"][number])


def test_positions_grow_on_demand(network: T2S) -> None:
    far = network.ar_audio_position(torch.zeros(1, 1, network.config.hidden), 6000)
    assert far.shape == (1, 1, network.config.hidden)
    assert bool(far.isfinite().all())


def test_half_precision_checkpoint_loads_as_float32(
    weights: dict[str, Tensor], config: dict[str, Any]
) -> None:
    network = T2S.from_state({key: value.half() for key, value in weights.items()}, config)
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_names_what_does_not_fit(weights: dict[str, Tensor], config: dict[str, Any]) -> None:
    spoiled = dict(weights)
    del spoiled["model.h.layers.1.norm1.bias"]
    spoiled["model.extra"] = torch.zeros(1)
    spoiled["model.ar_text_position.alpha"] = torch.zeros(2)
    with pytest.raises(ModelError) as caught:
        T2S.from_state(spoiled, config)
    message = str(caught.value)
    assert "missing: model.h.layers.1.norm1.bias" in message
    assert "unexpected: model.extra" in message
    assert "model.ar_text_position.alpha is 2, not 1" in message


def test_empty_checkpoint_is_refused() -> None:
    with pytest.raises(ModelError):
        T2S.from_state({}, {"model": {"head": 4, "EOS": 1024}, "data": {"max_sec": 54}})
