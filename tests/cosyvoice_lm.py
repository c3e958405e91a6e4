"""Language models of CosyVoice for tests: that of the official vectors, and tiny random ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from kouji.models.cosyvoice.config import LMConfig, Version
from kouji.models.cosyvoice.decode.lm import SpeechLM

VERSIONS: tuple[Version, ...] = ("cosyvoice3", "cosyvoice2")

TINY = LMConfig(
    num_layers=3,
    hidden=32,
    num_heads=6,
    num_kv_heads=2,
    head_width=8,
    intermediate=48,
    text_rows=120,
    codebook=70,
    end_of_prompt=100,
)


def golden_config(folder: Path) -> LMConfig:
    """Sizes of the vectors in `<folder>/llm`."""
    said: dict[str, Any] = json.loads((folder / "llm" / "config.json").read_text())
    qwen = said["qwen"]
    return LMConfig(
        version=said["version"],
        num_layers=qwen["num_hidden_layers"],
        hidden=qwen["hidden_size"],
        num_heads=qwen["num_attention_heads"],
        num_kv_heads=qwen["num_key_value_heads"],
        head_width=qwen["hidden_size"] // qwen["num_attention_heads"],
        intermediate=qwen["intermediate_size"],
        norm_epsilon=qwen["rms_norm_eps"],
        rope_theta=qwen["rope_theta"],
        text_rows=qwen["vocab_size"],
        codebook=said["speech_token_size"],
        end_of_prompt=said["endofprompt_id"],
        mix_text=said["mix_ratio"][0],
        mix_speech=said["mix_ratio"][1],
    )


def golden_network(folder: Path) -> SpeechLM:
    """The network of the vectors in `<folder>/llm`."""
    state = load_file(folder / "llm" / "weights.safetensors")
    return SpeechLM.from_state(golden_config(folder), state)


def tiny_network(version: Version = "cosyvoice3", seed: int = 4, **sizes: int) -> SpeechLM:
    """Random weights of toy widths whose stop ids are never likely."""
    config = replace(TINY, version=version, **sizes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = SpeechLM(config).eval().requires_grad_(False)
    network.text_table.mul_(20)
    network.llm_decoder.weight.mul_(4)
    network.llm_decoder.weight[config.codebook :] = 0
    for block in network.blocks:  # biases matter in official weights
        for linear in (block.self_attn.q_proj, block.self_attn.k_proj):
            linear.bias.mul_(8)
    return network
