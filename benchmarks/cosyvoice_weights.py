"""CosyVoice at official sizes with seeded random weights, for benchmarks/cosyvoice.py.

No official weights are at hand; the work does not depend on what the weights say. Scales are
those of trained networks: variances stay near one from layer to layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from kouji.models.cosyvoice.conditioning import Conditioning, TextSegment
from kouji.models.cosyvoice.config import (
    MELS,
    SPEAKER_WIDTH,
    FlowConfig,
    HiftConfig,
    LMConfig,
    UNetConfig,
    Version,
)
from kouji.models.cosyvoice.files.keys import expected_flow, expected_hift, expected_llm

Weights = dict[str, Tensor]
PROMPT_TOKENS, SPEECH_TOKENS = 87, 250  # a reference of 3.5 s, speech of 10 s
PROMPT_TEXT, TEXT = 20, 40  # tokens of text: about 10 s of Chinese
_GAINS = ("norm.weight", "layernorm.weight", "norm1.weight", "norm3.weight", "norm_ff.weight",
          "norm_mha.weight", "block.2.weight", "out.1.weight", "original0", "alpha")  # fmt: skip
_SMALL = 0.02  # of tables, and of what scales and shifts other layers


def random_weights(shapes: Mapping[str, tuple[int, ...]], seed: int) -> Weights:
    """Seeded weights: gains of one, products that keep variances."""
    rng = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith(_GAINS):
            weights[name] = torch.ones(shape)
        elif name.endswith("inv_freq"):
            weights[name] = 1e4 ** (-torch.arange(shape[0]) / shape[0])
        elif len(shape) == 1 or "embed" in name or "norm" in name:
            weights[name] = torch.empty(shape).normal_(0, _SMALL, generator=rng)
        else:
            fan_in = max(1, torch.Size(shape[1:]).numel())
            weights[name] = torch.empty(shape).normal_(0, fan_in**-0.5, generator=rng)
    return weights


def lm_config(version: Version) -> LMConfig:
    """Official sizes."""
    return LMConfig(version=version)


def llm_weights(config: LMConfig, seed: int = 0) -> Weights:
    """The language model; its head as sure of its tokens as a trained one's."""
    shapes = {k: v for k, v in expected_llm(config).items() if "lm_head" not in k}
    weights = random_weights(shapes, seed)
    weights["llm_decoder.weight"] *= 3.0
    return weights


def flow_config(version: Version) -> FlowConfig:
    """Official sizes."""
    if version == "cosyvoice3":
        return FlowConfig()
    return FlowConfig(version=version, lookahead_channels=512, estimator=UNetConfig())


def flow_weights(config: FlowConfig, seed: int = 1) -> Weights:
    """The flow."""
    return random_weights(expected_flow(config), seed)


def hift_config(version: Version) -> HiftConfig:
    """Official sizes."""
    return HiftConfig(version=version)


def hift_weights(config: HiftConfig, seed: int = 2) -> Weights:
    """The vocoder, with a gain for each weight-normed layer that keeps variances."""
    weights = random_weights(expected_hift(config), seed)
    for name in list(weights):
        if name.endswith("original0"):
            v = weights[name.replace("original0", "original1")]
            weights[name] = v.flatten(1).norm(dim=1).reshape(weights[name].shape)
    return weights


def make_voice(seed: int, codebook: int = 6561) -> Conditioning:
    """A random voice of a reference of 3.5 s."""
    rng = torch.Generator().manual_seed(1000 + seed)
    tokens = torch.randint(0, codebook, (PROMPT_TOKENS,), generator=rng)
    mel = torch.randn(2 * PROMPT_TOKENS, MELS, generator=rng)
    speaker = torch.randn(SPEAKER_WIDTH, generator=rng)
    return Conditioning(f"voice-{seed}", tokens, mel, speaker)


def make_segment(seed: int, config: LMConfig) -> TextSegment:
    """A random sentence in zero-shot mode."""
    rng = torch.Generator().manual_seed(100 + seed)
    prompt = torch.randint(0, 100_000, (PROMPT_TEXT,), generator=rng)
    prompt[7] = config.end_of_prompt
    text = torch.randint(0, 100_000, (TEXT,), generator=rng)
    return TextSegment(prompt, text, "zero_shot", TEXT)
