"""Version 2's flow for tests: that of the official vectors, and random ones of any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from kouji.models.cosyvoice.acoustic.unet_network import UNetNetwork
from kouji.models.cosyvoice.conditioning import Conditioning
from kouji.models.cosyvoice.config import FlowConfig, UNetConfig
from kouji.models.cosyvoice.files.keys import expected_flow

TINY = FlowConfig(
    version="cosyvoice2",
    codebook=81,
    chunk_tokens=5,
    lookahead_channels=24,
    num_steps=4,
    estimator=UNetConfig(
        encoder_dim=24, encoder_heads=3, encoder_ff=40, num_blocks=2, num_up_blocks=1,
        channels=16, num_mid_blocks=2, num_transformers=2, num_heads=2, head_width=12,
    ),
)  # fmt: skip


def golden_config(folder: Path) -> FlowConfig:
    """Sizes of the vectors in `<folder>/flow`."""
    said: dict[str, Any] = json.loads((folder / "flow" / "config.json").read_text())
    encoder, decoder = said["encoder"], said["decoder"]
    return FlowConfig(
        version=said["version"],
        codebook=said["vocab_size"],
        chunk_tokens=said["chunk_tokens"],
        lookahead_tokens=said["pre_lookahead_len"],
        lookahead_channels=encoder["output_size"],
        cfg_rate=said["cfm"]["inference_cfg_rate"],
        num_steps=said["n_timesteps"],
        estimator=UNetConfig(
            encoder_dim=encoder["output_size"],
            encoder_heads=encoder["heads"],
            encoder_ff=encoder["linear_units"],
            num_blocks=encoder["num_blocks"],
            num_up_blocks=encoder["num_up_blocks"],
            channels=decoder["channels"][0],
            num_mid_blocks=decoder["num_mid_blocks"],
            num_transformers=decoder["n_blocks"],
            num_heads=decoder["num_heads"],
            head_width=decoder["attention_head_dim"],
        ),
    )


def golden_state(folder: Path) -> dict[str, Tensor]:
    """The weights of the vectors in `<folder>/flow`."""
    return load_file(folder / "flow" / "weights.safetensors")


def golden_voice(vectors: dict[str, Tensor]) -> Conditioning:
    """The voice of the vectors that have one."""
    return Conditioning(
        "golden",
        vectors["in.prompt_token"][0].long(),
        vectors["in.prompt_feat"][0],
        vectors["in.embedding"][0],
    )


def plain(config: FlowConfig, state: dict[str, Tensor]) -> UNetNetwork:
    """The reference network with these weights."""
    return UNetNetwork.from_state(config, state)


def random_state(config: FlowConfig = TINY, seed: int = 5) -> dict[str, Tensor]:
    """Weights of a scale at which every layer matters and nothing explodes."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, shape: tuple[int, ...]) -> Tensor:
        drawn = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            is_norm = name.endswith("weight")
            return 1 + 0.1 * drawn if is_norm else 0.1 * drawn
        if name.endswith(("pos_bias_u", "pos_bias_v")):
            return 0.2 * drawn
        fan_in = drawn[0].numel()
        return drawn if name.startswith("input_embedding") else drawn / fan_in**0.5

    return {name: draw(name, shape) for name, shape in expected_flow(config).items()}


def random_voice(num_tokens: int, config: FlowConfig = TINY, seed: int = 1) -> Conditioning:
    """A voice nobody has, of so many tokens."""
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(
        f"{seed}:{num_tokens}",
        torch.randint(config.codebook, (num_tokens,), generator=generator),
        torch.randn(2 * num_tokens, 80, generator=generator),
        torch.randn(192, generator=generator),
    )


def random_tokens(num_tokens: int, config: FlowConfig = TINY, seed: int = 2) -> list[int]:
    """Speech nobody said."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.codebook, (num_tokens,), generator=generator).tolist()
