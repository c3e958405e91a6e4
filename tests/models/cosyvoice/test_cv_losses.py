"""What the networks were trained on: the official losses, and rows written out by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cosyvoice_dit import golden_flow, random_flow
from cosyvoice_lm import golden_network
from cosyvoice_unet import golden_config, golden_state, plain
from safetensors.torch import load_file

from kouji.errors import ModelError
from kouji.models.cosyvoice.conditioning import LMPart
from kouji.models.cosyvoice.config import LMConfig
from kouji.models.cosyvoice.losses import (
    IGNORED,
    FlowExample,
    LMExample,
    flow_loss,
    lm_inputs,
    lm_loss,
    lm_row,
)


@pytest.fixture(params=["cosyvoice3", "cosyvoice2"])
def folder(shared_dir: Path, request: pytest.FixtureRequest) -> Path:
    found = shared_dir / "goldens" / request.param
    if not (found / "llm" / "train_loss.safetensors").is_file():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.mark.parametrize("case", ["unistream", "bistream"])
def test_the_official_loss_of_the_language_model(folder: Path, case: str) -> None:
    golden = load_file(folder / "llm" / "train_loss.safetensors")
    network = golden_network(folder)
    examples = [
        LMExample(
            *(
                golden[f"batch.{kind}_token"][row, : golden[f"batch.{kind}_token_len"][row]]
                for kind in ("instruct", "text", "speech")
            )
        )
        for row in range(2)
    ]
    for row, example in enumerate(examples):
        parts, targets = lm_row(example, network.config, is_in_turn=case == "bistream")
        num_positions = int(golden[f"{case}.lm_input_len"][row])
        assert targets == golden[f"{case}.target"][row, :num_positions].tolist()
        given = golden[f"{case}.lm_input"][row, :num_positions]
        torch.testing.assert_close(lm_inputs(network, parts), given, rtol=0, atol=1e-6)
    made = lm_loss(network, examples, is_in_turn=case == "bistream")
    torch.testing.assert_close(made.loss, golden[f"{case}.loss"], rtol=0, atol=1e-4)
    torch.testing.assert_close(made.accuracy, golden[f"{case}.acc"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", ["stream_cond", "full_nocond"])
def test_the_official_loss_of_the_flow(folder: Path, case: str) -> None:
    golden = load_file(folder / "flow" / "train_loss.safetensors")
    network: Any = (
        golden_flow(folder)
        if folder.name == "cosyvoice3"
        else plain(golden_config(folder), golden_state(folder))
    )
    examples = []
    for row in range(2):
        num_tokens = int(golden["batch.speech_token_len"][row])
        num_frames = int(golden["batch.speech_feat_len"][row])
        prefix = int(0.3 * num_frames) // 2 if (case, row) == ("stream_cond", 0) else 0
        examples.append(
            FlowExample(
                golden["batch.speech_token"][row, :num_tokens],
                golden["batch.speech_feat"][row, :num_frames],
                golden["batch.embedding"][row],
                golden["noise_z"][row].T[:num_frames],
                float(golden["t"][row]),
                prefix,
                is_free=bool(golden["cfg_draw"][row] <= 0.2),
            )
        )
    made = flow_loss(network, examples, is_streamed=case == "stream_cond")
    torch.testing.assert_close(made, golden[f"{case}.loss"], rtol=0, atol=1e-5)


def test_text_and_speech_in_turn() -> None:
    config = LMConfig("cosyvoice2", codebook=81)
    example = LMExample(torch.tensor([]), torch.arange(5), torch.arange(20))
    parts, targets = lm_row(example, config, is_in_turn=True)
    assert parts == [
        LMPart("sos"), LMPart("text", (0, 1, 2, 3, 4)), LMPart("speech", tuple(range(15))),
        LMPart("text", ()), LMPart("task"), LMPart("speech", tuple(range(15, 20))),
    ]  # fmt: skip
    assert targets == [
        IGNORED, *[IGNORED] * 4, *range(15), config.fill, *range(15, 20), config.eos
    ]  # fmt: skip
    too_short = replace(example, speech=torch.arange(15))
    assert lm_row(too_short, config, is_in_turn=True) == lm_row(
        too_short, config, is_in_turn=False
    ), "not more than three for each of text"


def test_what_cannot_be_measured() -> None:
    flow = random_flow()
    mel = torch.zeros(3, 80)
    example = FlowExample(torch.tensor([1]), mel, torch.zeros(192), mel, 0.5)
    with pytest.raises(ModelError, match="does not fit its tokens"):
        flow_loss(flow, [example], is_streamed=False)
    with pytest.raises(ModelError, match="no examples"):
        flow_loss(flow, [], is_streamed=False)
