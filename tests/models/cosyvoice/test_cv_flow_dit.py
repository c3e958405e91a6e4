"""The plain flow of version 3 against the official numbers, stage by stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cosyvoice_dit import TINY, golden_flow, random_flow
from safetensors.torch import load_file
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.acoustic.plain_flow import PlainFlow
from kouji.models.cosyvoice.conditioning import Conditioning

Golden = dict[str, Tensor]


@pytest.fixture(scope="module")
def folder(shared_dir: Path) -> Path:
    found = shared_dir / "goldens" / "cosyvoice3"
    if not (found / "flow").is_dir():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.fixture(scope="module")
def flow(folder: Path) -> PlainFlow:
    return golden_flow(folder)


def near(ours: Tensor, official: Tensor, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(ours, official, rtol=0, atol=tolerance)


@pytest.mark.parametrize("mode", ["full", "chunk"])
@torch.inference_mode()
def test_estimator(folder: Path, flow: PlainFlow, mode: str) -> None:
    golden = load_file(folder / "flow" / "estimator.safetensors")
    dit, seen = flow.decoder.estimator, {}

    def keep(name: str) -> None:
        module = dit.get_submodule(name)
        module.register_forward_hook(lambda _module, _inputs, made: seen.update({name: made}))

    parts = {
        "time_embed": "time_embed",
        "input_embed.conv_pos_embed": "conv_pos_embed",
        "input_embed": "input_embed",
        "transformer_blocks.0.attn": "block0.attn",
        "transformer_blocks.0": "block0",
        "transformer_blocks.1": "block1",
    }
    for name in parts:
        keep(name)
    dit.proj_out.register_forward_pre_hook(lambda _module, given: seen.update(norm_out=given[0]))
    x, mu, condition = (golden[f"in.{name}"].mT for name in ("x", "mu", "cond"))
    mask = golden["in.mask"][:, 0] > 0
    made = dit(
        x, mu, condition, golden["in.spks"], golden["in.t"], mask=mask, is_chunked=mode == "chunk"
    )
    near(made.mT, golden[f"{mode}.out"])
    near(seen["norm_out"], golden[f"{mode}.norm_out"])
    for name, official in parts.items():
        ours = seen[name] * mask[..., None] if official.endswith("attn") else seen[name]
        near(ours, golden[f"{mode}.{official}"])


@torch.inference_mode()
def test_conditioning(folder: Path, flow: PlainFlow) -> None:
    golden = load_file(folder / "flow" / "conditioning.safetensors")
    tokens = torch.cat((golden["in.prompt_token"][0], golden["in.token"][0]))
    near(flow.input_embedding(tokens), golden["token_embedding"][0], 1e-5)
    near(flow.speaker(golden["in.embedding"][0]), golden["spk"][0], 1e-5)
    near(flow.frames(tokens, tokens[:0])[::2], golden["pre_lookahead.final"][0], 1e-5)
    near(flow.frames(tokens[:-3], tokens[-3:])[1::2], golden["pre_lookahead.partial"][0], 1e-5)


@pytest.mark.parametrize("mode", ["full_final", "chunk_final", "chunk_partial"])
def test_solve(folder: Path, flow: PlainFlow, mode: str) -> None:
    golden = load_file(folder / "flow" / "solve.safetensors")
    voice = golden_voice(golden)
    calls: list[tuple[tuple[Tensor, ...], Tensor]] = []
    hook = flow.decoder.estimator.register_forward_hook(
        lambda _module, given, made: calls.append((given, made))
    )
    try:
        made = flow.render(
            voice,
            golden["in.token"][0],
            is_streamed=mode.startswith("chunk"),
            is_final=mode.endswith("final"),
        )
    finally:
        hook.remove()
    near(made.T, golden[f"{mode}.mel"][0])
    steps = golden[f"{mode}.x_steps"]
    assert len(calls) == 10
    near(torch.stack([given[0][0].T for given, _ in calls[: len(steps)]]), steps)
    if mode == "chunk_final":
        return  # the others' inputs
    mu, condition, speaker = (tensor[:1] for tensor in calls[0][0][1:4])
    near(mu.mT, golden[f"{mode}.mu"], 1e-5)
    near(condition.mT, golden[f"{mode}.cond"], 1e-5)
    near(speaker, golden[f"{mode}.spks"], 1e-5)
    for branch, name in enumerate(("cond", "uncond")):
        near(calls[0][1][branch].T, golden[f"{mode}.first_dphi_{name}"])


def golden_voice(golden: Golden) -> Conditioning:
    return Conditioning(
        "golden",
        golden["in.prompt_token"][0],
        golden["in.prompt_feat"][0],
        golden["in.embedding"][0],
    )


def test_weights_that_do_not_fit_are_named() -> None:
    state = dict(random_flow().state_dict())
    state |= {"epoch": torch.tensor(3), "step": torch.tensor(70)}
    assert PlainFlow.from_state(TINY, state).config is TINY
    state["strange.weight"] = state.pop("spk_embed_affine_layer.bias")
    state["decoder.estimator.proj_out.weight"] = torch.zeros(80, 31)
    with pytest.raises(ModelError) as caught:
        PlainFlow.from_state(TINY, state)
    for said in ("spk_embed_affine_layer.bias", "strange.weight", "80x31, not 80x32"):
        assert said in str(caught.value)
