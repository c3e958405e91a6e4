"""Sizes and constants of one CosyVoice model; what a model directory's YAML says, checked.

Values of the official checkpoints (Fun-CosyVoice3-0.5B, CosyVoice2-0.5B) are the defaults.
Knows no files; `model_yaml` and `directory` fill these records.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Version = Literal["cosyvoice3", "cosyvoice2"]

SAMPLE_RATE = 24_000
TOKEN_RATE_HZ = 25
FRAMES_PER_TOKEN = 2  # of mel, at 50 Hz
SAMPLES_PER_FRAME = 480
MELS = 80
SPEAKER_WIDTH = 192  # of CAM++'s embedding
LOOKAHEAD_TOKENS = 3  # the flow sees so many tokens past the one it renders
CHUNK_TOKENS = 25  # of the flow's causal mask, counted from the beginning of the prompt
MAX_PROMPT_SECONDS = 30.0
NOISE_FRAMES = 15_000  # of the fixed noise: prompt and speech of a segment, 300 s
_SILENT_TOKENS = frozenset({1, 2, 28, 29, 55, 248, 494, 2241, 2242, 2322, 2323})  # of version 3


def silent_tokens(version: Version) -> frozenset[int]:
    """Speech tokens that sound like silence, as the official code lists them."""
    return _SILENT_TOKENS if version == "cosyvoice3" else frozenset()


@dataclass(frozen=True)
class LMConfig:
    """The language model: a Qwen2 body over text and speech embeddings.

    text_rows: rows of the text embedding
    codebook:  speech tokens; ids from here on are not speech
    end_of_prompt: text id of `<|endofprompt|>`, which closes system words and instructions
    mix_text, mix_speech: tokens of text and of speech in turn, where text is still being written
    """

    version: Version = "cosyvoice3"
    num_layers: int = 24
    hidden: int = 896
    num_heads: int = 14
    num_kv_heads: int = 2
    head_width: int = 64
    intermediate: int = 4864
    norm_epsilon: float = 1e-6
    rope_theta: float = 1e6
    text_rows: int = 151_936
    codebook: int = 6561
    end_of_prompt: int = 151_646
    mix_text: int = 5
    mix_speech: int = 15

    @property
    def vocabulary(self) -> int:
        """Rows of the speech head."""
        return self.codebook + (200 if self.version == "cosyvoice3" else 3)

    @property
    def first_stop(self) -> int:
        """Ids from here on end the speech: none of them is a sound."""
        return self.codebook

    @property
    def eos(self) -> int:
        """The id training ends with."""
        return self.codebook + (1 if self.version == "cosyvoice3" else 0)

    @property
    def fill(self) -> int:
        """Asks for more text, where text is still being written."""
        return self.codebook + (3 if self.version == "cosyvoice3" else 2)


@dataclass(frozen=True)
class DiTConfig:
    """The estimator of version 3."""

    dim: int = 1024
    depth: int = 22
    num_heads: int = 16
    head_width: int = 64
    ff_mult: int = 2


@dataclass(frozen=True)
class UNetConfig:
    """Encoder and estimator of version 2."""

    encoder_dim: int = 512
    encoder_heads: int = 8
    encoder_ff: int = 2048
    num_blocks: int = 6
    num_up_blocks: int = 4
    channels: int = 256
    num_mid_blocks: int = 12
    num_transformers: int = 4
    num_heads: int = 8
    head_width: int = 64


@dataclass(frozen=True)
class FlowConfig:
    """Tokens to mel by conditional flow matching.

    lookahead_channels: inside the pre-lookahead layer
    chunk_tokens:       of the causal mask
    estimator:          its type tells the version
    """

    version: Version = "cosyvoice3"
    codebook: int = 6561
    chunk_tokens: int = CHUNK_TOKENS
    lookahead_tokens: int = LOOKAHEAD_TOKENS
    lookahead_channels: int = 1024
    cfg_rate: float = 0.7
    num_steps: int = 10
    estimator: DiTConfig | UNetConfig = field(default_factory=DiTConfig)


@dataclass(frozen=True)
class HiftConfig:
    """The vocoder; version 3 is causal, version 2 is not."""

    version: Version = "cosyvoice3"
    base_channels: int = 512
    f0_channels: int = 512
    num_harmonics: int = 8
    sine_amplitude: float = 0.1
    noise_sigma: float = 0.003
    voiced_threshold_hz: float = 10.0
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    upsample_kernels: tuple[int, ...] = (16, 11, 7)
    n_fft: int = 16
    hop_length: int = 4
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    source_kernels: tuple[int, ...] = (7, 7, 11)
    source_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    leaky_slope: float = 0.1
    audio_limit: float = 0.99
    lookahead_frames: int = 4  # of its first convolution; version 3


@dataclass(frozen=True)
class SamplingConfig:
    """Repetition-aware sampling, as the YAML has it."""

    top_p: float = 0.8
    top_k: int = 25
    window: int = 10
    share: float = 0.1


@dataclass(frozen=True)
class CosyVoiceConfig:
    """A whole model; mel_fmax_hz is of the flow's mel: 12000 in version 3, 8000 in version 2."""

    version: Version = "cosyvoice3"
    mel_fmax_hz: float = 12_000.0
    lm: LMConfig = field(default_factory=LMConfig)
    flow: FlowConfig = field(default_factory=FlowConfig)
    hift: HiftConfig = field(default_factory=HiftConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
