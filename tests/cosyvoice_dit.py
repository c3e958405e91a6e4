"""Flows of CosyVoice 3 for tests: that of the official vectors, and tiny random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from kouji.models.cosyvoice.acoustic.plain_flow import PlainFlow
from kouji.models.cosyvoice.conditioning import Conditioning
from kouji.models.cosyvoice.config import DiTConfig, FlowConfig

TINY = FlowConfig(
    codebook=50,
    chunk_tokens=5,
    lookahead_channels=12,
    estimator=DiTConfig(dim=32, depth=3, num_heads=4, head_width=8),
)


def golden_config(folder: Path) -> FlowConfig:
    """Sizes of the vectors in `<folder>/flow`."""
    said: dict[str, Any] = json.loads((folder / "flow" / "config.json").read_text())
    dit = said["dit"]
    return FlowConfig(
        version=said["version"],
        codebook=said["vocab_size"],
        chunk_tokens=said["chunk_tokens"],
        lookahead_tokens=said["pre_lookahead_len"],
        lookahead_channels=said["pre_lookahead_channels"],
        cfg_rate=said["cfm"]["inference_cfg_rate"],
        num_steps=said["n_timesteps"],
        estimator=DiTConfig(
            dim=dit["dim"],
            depth=dit["depth"],
            num_heads=dit["heads"],
            head_width=dit["dim_head"],
            ff_mult=dit["ff_mult"],
        ),
    )


def golden_flow(folder: Path) -> PlainFlow:
    """The network of the vectors in `<folder>/flow`."""
    state = load_file(folder / "flow" / "weights.safetensors")
    return PlainFlow.from_state(golden_config(folder), state)


def random_flow(config: FlowConfig = TINY, seed: int = 0) -> PlainFlow:
    """Random weights under which the mel moves by about one.

    Linear layers keep the variance of what they get; modulations are of a size with those of
    trained networks (scales and gates around 0.3), so that blocks matter and nothing blows up.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        flow = PlainFlow(config)
    flow = flow.to_empty(device="cpu").eval().requires_grad_(False)
    for name, value in flow.state_dict().items():
        fan_in = value[0].numel() if value.ndim > 1 else 1
        size = 0.05 if value.ndim == 1 else fan_in**-0.5
        if "attn_norm" in name or "norm_out" in name:
            size *= 0.5  # of SiLU(time), whose root mean square is near 0.6
        if "input_embedding" in name:
            size = 1.0
        value.normal_(0, size, generator=generator)
    return flow


def random_voice(config: FlowConfig = TINY, num_tokens: int = 12, seed: int = 1) -> Conditioning:
    """A voice that said random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(
        f"voice {num_tokens} {seed}",
        torch.randint(config.codebook, (num_tokens,), generator=generator),
        torch.randn(2 * num_tokens, 80, generator=generator),
        torch.randn(192, generator=generator),
    )


def random_tokens(num_tokens: int, config: FlowConfig = TINY, seed: int = 2) -> list[int]:
    """Random speech."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.codebook, (num_tokens,), generator=generator).tolist()
