"""Version 2's plain flow against the official numbers, step by step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cosyvoice_unet import golden_config, golden_state, golden_voice, plain
from safetensors.torch import load_file
from torch import Tensor

from kouji.models.cosyvoice.acoustic.conformer import chunk_mask, relative_positions
from kouji.models.cosyvoice.acoustic.flow_solver import euler_steps
from kouji.models.cosyvoice.acoustic.unet_network import UNetNetwork

Golden = dict[str, Tensor]
CONDITIONING_TOLERANCE = 1e-5
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folder(shared_dir: Path) -> Path:
    found = shared_dir / "goldens" / "cosyvoice2"
    if not (found / "flow").is_dir():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.fixture(scope="module")
def network(folder: Path) -> UNetNetwork:
    return plain(golden_config(folder), golden_state(folder))


@pytest.fixture(scope="module")
def conditioning(folder: Path) -> Golden:
    return load_file(folder / "flow" / "conditioning.safetensors")


@pytest.fixture(scope="module")
def estimator(folder: Path) -> Golden:
    return load_file(folder / "flow" / "estimator.safetensors")


@pytest.fixture(scope="module")
def solve(folder: Path) -> Golden:
    return load_file(folder / "flow" / "solve.safetensors")


def assert_close(seen: Tensor, wanted: Tensor, tolerance: float = TOLERANCE) -> None:
    assert seen.shape == wanted.shape
    assert (seen - wanted).abs().max() <= tolerance


class Heard:
    """What modules gave, by name, while the context lasts."""

    def __init__(self, **modules: torch.nn.Module) -> None:
        self.given: Golden = {}
        self._hooks = [
            module.register_forward_hook(self._keep(name)) for name, module in modules.items()
        ]

    def _keep(self, name: str):  # type: ignore[no-untyped-def]
        def keep(_module: torch.nn.Module, _inputs: object, output: Tensor) -> None:
            self.given.setdefault(name, output)

        return keep

    def __enter__(self) -> Golden:
        return self.given

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


def test_table_of_relative_positions(conditioning: Golden) -> None:
    wanted = conditioning["encoder.pos_emb"]
    longest = wanted.shape[1] // 2
    seen = relative_positions(longest, -longest, wanted.shape[2])
    assert_close(seen[None], wanted, CONDITIONING_TOLERANCE)


@torch.inference_mode()
def test_encoder_layer_by_layer(network: UNetNetwork, conditioning: Golden) -> None:
    tokens = torch.cat([conditioning["in.prompt_token"], conditioning["in.token"]], 1).long()
    embedded = network.input_embedding(tokens)
    assert_close(embedded, conditioning["token_embedding"], CONDITIONING_TOLERANCE)
    encoder = network.encoder
    with Heard(
        embed=encoder.embed,
        pre_lookahead=encoder.pre_lookahead_layer,
        enc0=encoder.encoders[0],
        enc_last=encoder.encoders[-1],
        up_layer=encoder.up_layer,
        up_embed=encoder.up_embed,
        up0=encoder.up_encoders[0],
        up_last=encoder.up_encoders[-1],
        attn=encoder.encoders[0].self_attn,
    ) as heard:
        heard["out"] = encoder(embedded, None, is_streaming=False)
    heard["up_layer"] = heard["up_layer"].mT
    heard["enc0.attn"] = heard.pop("attn")
    for name, seen in heard.items():
        assert_close(seen, conditioning[f"encoder.full.{name}"], CONDITIONING_TOLERANCE)


@torch.inference_mode()
def test_encoder_under_the_chunk_mask(network: UNetNetwork, conditioning: Golden) -> None:
    embedded = conditioning["token_embedding"]
    seen = network.encoder(embedded, None, is_streaming=True)
    assert_close(seen, conditioning["encoder.chunk.out"], CONDITIONING_TOLERANCE)
    border = embedded.shape[1] - network.config.lookahead_tokens
    seen = network.encoder(embedded[:, :border], embedded[:, border:], is_streaming=True)
    assert_close(seen, conditioning["encoder.chunk_partial.out"], CONDITIONING_TOLERANCE)


@pytest.mark.parametrize("case", ["full", "chunk"])
@torch.inference_mode()
def test_estimator(network: UNetNetwork, estimator: Golden, case: str) -> None:
    unet, vectors = network.decoder.estimator, estimator
    num_frames = vectors["in.x"].shape[2]
    chunk = 2 * network.config.chunk_tokens
    seen = chunk_mask(num_frames, chunk) if case == "chunk" else None
    down, mid, up = unet.down_blocks[0], unet.mid_blocks[0], unet.up_blocks[0]
    modules: dict[str, torch.nn.Module] = {
        "time_mlp": unet.time_mlp,
        "down0.resnet": down[0],
        "down0.transformer0": down[1][0],
        "down0.conv": down[2],
        "mid0.transformer_last": mid[1][-1],
        "up0.resnet": up[0],
        "final_block": unet.final_block,
    }
    with Heard(**modules) as heard:
        heard["out"] = unet(
            vectors["in.x"], vectors["in.mask"], vectors["in.mu"], vectors["in.t"],
            vectors["in.spks"], vectors["in.cond"], seen=seen,
        )  # fmt: skip
    for name, tensor in heard.items():
        assert_close(tensor, vectors[f"{case}.{name}"])


CASES = {"full_final": (False, True), "chunk_final": (True, True), "chunk_partial": (True, False)}


@pytest.mark.parametrize("case", CASES)
def test_solve(network: UNetNetwork, solve: Golden, case: str) -> None:
    is_streaming, is_final = CASES[case]
    voice, tokens = golden_voice(solve), solve["in.token"][0].long()
    entered: list[Tensor] = []
    hook = network.decoder.estimator.register_forward_pre_hook(
        lambda _module, given: entered.append(given[0][0])
    )
    try:
        mel = network.render(voice, tokens, is_streaming=is_streaming, is_final=is_final)
    finally:
        hook.remove()
    assert_close(mel.T[None], solve[f"{case}.mel"])
    steps = solve[f"{case}.x_steps"]
    assert len(entered) == 10
    assert_close(torch.stack(entered[: len(steps)]), steps)


@pytest.mark.parametrize("case", ["full_final", "chunk_partial"])
@torch.inference_mode()
def test_first_step_of_the_solver(network: UNetNetwork, solve: Golden, case: str) -> None:
    is_streaming, is_final = CASES[case]
    voice, tokens = golden_voice(solve), solve["in.token"][0].long()
    given = network.encode(voice, tokens, is_streaming=is_streaming, is_final=is_final)
    assert_close(given.mu, solve[f"{case}.mu"], CONDITIONING_TOLERANCE)
    assert_close(given.speaker, solve[f"{case}.spks"], CONDITIONING_TOLERANCE)
    assert torch.equal(given.cond, solve[f"{case}.cond"])
    z = solve[f"{case}.z"]
    chunk = 2 * network.config.chunk_tokens
    seen = chunk_mask(z.shape[2], chunk) if is_streaming else None
    v = network.velocity(z, euler_steps(10)[0].time, given, seen)
    free = solve[f"{case}.first_dphi_uncond"]
    wanted = 1.7 * solve[f"{case}.first_dphi_cond"] - 0.7 * free
    assert_close(v[0], wanted)
