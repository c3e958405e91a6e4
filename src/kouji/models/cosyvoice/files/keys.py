"""Which tensors the files of a CosyVoice model hold, by rule from its sizes.

Names and shapes of `llm.pt`, `flow.pt` and `hift.pt` as the official code saves them; knows no
values and opens no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from kouji.errors import ModelError
from kouji.models.archives.key_report import Shapes, compare_keys
from kouji.models.archives.key_tables import affine, inside, repeat
from kouji.models.cosyvoice.config import (
    FRAMES_PER_TOKEN,
    MELS,
    SPEAKER_WIDTH,
    CosyVoiceConfig,
    DiTConfig,
    FlowConfig,
    HiftConfig,
    LMConfig,
    UNetConfig,
)

Kind = Literal["llm", "flow", "hift"]

LM_HEAD = "llm.model.lm_head.weight"  # the text embedding once more; never read
TRAINER_ENTRIES = ("epoch", "step")  # numbers the official trainer leaves beside the tensors
G, V = "parametrizations.weight.original0", "parametrizations.weight.original1"
_TEXT = "llm.model.model"
_TIME_WIDTH = 256  # of the DiT's sinusoid
_POSITION_KERNEL, _POSITION_GROUPS = 31, 16  # of the DiT's convolutions over positions
_PRE_KERNELS = (4, 3)  # of the pre-lookahead layer


def require_tensors(state: Mapping[str, Tensor], expected: Shapes, file: str) -> None:
    """Raise ModelError, naming what differs, unless these are the tensors of a file.

    What nobody reads may be there or not.
    """
    report = compare_keys(state, expected, (LM_HEAD, *TRAINER_ENTRIES).__contains__)
    if not report.is_fitting:
        raise ModelError(
            f"the tensors of {file} do not fit the sizes of its model",
            seen=str(report),
            allowed=f"{len(expected)} tensors of these sizes",
            cure=f"take {file} and the YAML from one release",
        )


def expected_shapes(config: CosyVoiceConfig, kind: Kind) -> Shapes:
    """Names and shapes of one of the three files."""
    if kind == "llm":
        return expected_llm(config.lm)
    return expected_flow(config.flow) if kind == "flow" else expected_hift(config.hift)


# --- the language model


def expected_llm(config: LMConfig) -> Shapes:
    """Names and shapes of `llm.pt`, and of `llm.rl.pt`."""
    width, rows = config.hidden, config.vocabulary
    queries, keys = config.num_heads * config.head_width, config.num_kv_heads * config.head_width
    layer = {
        **affine("self_attn.q_proj", queries, width),
        **affine("self_attn.k_proj", keys, width),
        **affine("self_attn.v_proj", keys, width),
        "self_attn.o_proj.weight": (width, queries),
        "mlp.gate_proj.weight": (config.intermediate, width),
        "mlp.up_proj.weight": (config.intermediate, width),
        "mlp.down_proj.weight": (width, config.intermediate),
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    shapes: Shapes = {
        f"{_TEXT}.embed_tokens.weight": (config.text_rows, width),
        LM_HEAD: (config.text_rows, width),
        **repeat(f"{_TEXT}.layers", range(config.num_layers), lambda _: layer),
        f"{_TEXT}.norm.weight": (width,),
        "llm_decoder.weight": (rows, width),
        "speech_embedding.weight": (rows, width),
    }
    if config.version == "cosyvoice2":
        shapes |= {"llm_decoder.bias": (rows,), "llm_embedding.weight": (2, width)}
    return shapes


# --- the flow


def expected_flow(config: FlowConfig) -> Shapes:
    """Names and shapes of `flow.pt`."""
    speaker = affine("spk_embed_affine_layer", MELS, SPEAKER_WIDTH)
    estimator = config.estimator
    if isinstance(estimator, DiTConfig):
        return {
            "input_embedding.weight": (config.codebook, MELS),
            **speaker,
            **_lookahead("pre_lookahead_layer", MELS, config.lookahead_channels),
            **inside("decoder.estimator", _dit(estimator)),
        }
    return {
        "input_embedding.weight": (config.codebook, estimator.encoder_dim),
        **speaker,
        **inside("encoder", _conformer(estimator, config.lookahead_channels)),
        **affine("encoder_proj", MELS, estimator.encoder_dim),
        **inside("decoder.estimator", _unet(estimator)),
    }


def _lookahead(name: str, width: int, channels: int) -> Shapes:
    first, second = _PRE_KERNELS
    return {
        **affine(f"{name}.conv1", channels, width, first),
        **affine(f"{name}.conv2", width, channels, second),
    }


def _dit(config: DiTConfig) -> Shapes:
    width, inner = config.dim, config.num_heads * config.head_width
    grouped = (width, width // _POSITION_GROUPS, _POSITION_KERNEL)
    block = {
        **affine("attn_norm.linear", 6 * width, width),
        **affine("attn.to_q", inner, width),
        **affine("attn.to_k", inner, width),
        **affine("attn.to_v", inner, width),
        **affine("attn.to_out.0", width, inner),
        **affine("ff.ff.0.0", config.ff_mult * width, width),
        **affine("ff.ff.2", width, config.ff_mult * width),
    }
    return {
        **affine("time_embed.time_mlp.0", width, _TIME_WIDTH),
        **affine("time_embed.time_mlp.2", width, width),
        **affine("input_embed.proj", width, 4 * MELS),  # x, condition, mu, speaker
        **affine("input_embed.conv_pos_embed.conv1.0", *grouped),
        **affine("input_embed.conv_pos_embed.conv2.0", *grouped),
        "rotary_embed.inv_freq": (config.head_width // 2,),
        **repeat("transformer_blocks", range(config.depth), lambda _: block),
        **affine("norm_out.linear", 2 * width, width),
        **affine("proj_out", MELS, width),
    }


def _conformer(config: UNetConfig, lookahead_channels: int) -> Shapes:
    width, heads = config.encoder_dim, config.encoder_heads
    embed = {**affine("out.0", width, width), **affine("out.1", width)}
    projections = ("linear_q", "linear_k", "linear_v", "linear_out")
    layer: Shapes = {
        "self_attn.pos_bias_u": (heads, width // heads),
        "self_attn.pos_bias_v": (heads, width // heads),
        "self_attn.linear_pos.weight": (width, width),
        **affine("feed_forward.w_1", config.encoder_ff, width),
        **affine("feed_forward.w_2", width, config.encoder_ff),
        **affine("norm_ff", width),
        **affine("norm_mha", width),
    }
    for name in projections:
        layer |= affine(f"self_attn.{name}", width, width)
    return {
        **inside("embed", embed),
        **_lookahead("pre_lookahead_layer", width, lookahead_channels),
        **repeat("encoders", range(config.num_blocks), lambda _: layer),
        **affine("up_layer.conv", width, width, 2 * FRAMES_PER_TOKEN + 1),
        **inside("up_embed", embed),
        **repeat("up_encoders", range(config.num_up_blocks), lambda _: layer),
        **affine("after_norm", width),
    }


def _unet(config: UNetConfig) -> Shapes:
    width, inner = config.channels, config.num_heads * config.head_width
    time = 4 * width
    transformer = {
        **affine("norm1", width),
        **affine("norm3", width),
        "attn1.to_q.weight": (inner, width),
        "attn1.to_k.weight": (inner, width),
        "attn1.to_v.weight": (inner, width),
        **affine("attn1.to_out.0", width, inner),
        **affine("ff.net.0.proj", 4 * width, width),
        **affine("ff.net.2", width, 4 * width),
    }
    transformers = repeat("1", range(config.num_transformers), lambda _: transformer)

    def conv_unit(name: str, into: int) -> Shapes:
        return {**affine(f"{name}.0", width, into, 3), **affine(f"{name}.2", width)}

    def level(into: int) -> Shapes:
        resnet = {
            **affine("mlp.1", width, time),
            **conv_unit("block1.block", into),
            **conv_unit("block2.block", width),
            **affine("res_conv", width, into, 1),
        }
        return {**inside("0", resnet), **transformers}

    last = affine("2", width, width, 3)
    return {
        **affine("time_mlp.linear_1", time, 4 * MELS),
        **affine("time_mlp.linear_2", time, time),
        **inside("down_blocks.0", {**level(4 * MELS), **last}),  # x, mu, speaker, condition
        **repeat("mid_blocks", range(config.num_mid_blocks), lambda _: level(width)),
        **inside("up_blocks.0", {**level(2 * width), **last}),  # and the skip
        **conv_unit("final_block.block", width),
        **affine("final_proj", MELS, width, 1),
    }


# --- the vocoder


def expected_hift(config: HiftConfig) -> Shapes:
    """Names and shapes of `hift.pt`, in the spelling of torch's parametrisations."""
    is_causal = config.version == "cosyvoice3"
    bins = config.n_fft + 2  # real and imaginary parts, or magnitudes and phases
    num_stages = len(config.upsample_rates)
    channels = [config.base_channels >> stage for stage in range(num_stages + 1)]
    strides = _down_strides(config.upsample_rates)

    def up(stage: int) -> Shapes:
        into, out, kernel = channels[stage], channels[stage + 1], config.upsample_kernels[stage]
        # Version 2's are transposed: their first axis is the input, and so is that of their norm.
        return _normed(out, into, kernel) if is_causal else _normed(into, out, kernel, bias=out)

    def down(stage: int) -> Shapes:
        stride = strides[stage]
        kernel = 1 if stride == 1 else 2 * stride
        return affine(str(stage), channels[stage + 1], bins, kernel)

    def source_block(stage: int) -> Shapes:
        kernel, dilations = config.source_kernels[stage], config.source_dilations[stage]
        return _resblock(channels[stage + 1], kernel, len(dilations))

    def block(number: int) -> Shapes:
        stage, kind = divmod(number, len(config.resblock_kernels))
        kernel, dilations = config.resblock_kernels[kind], config.resblock_dilations[kind]
        return _resblock(channels[stage + 1], kernel, len(dilations))

    shapes: Shapes = {
        **affine("m_source.l_linear", 1, config.num_harmonics + 1),
        **inside("conv_pre", _normed(channels[0], MELS, _pre_kernel(config))),
        **repeat("ups", range(num_stages), up),
        **repeat("source_resblocks", range(num_stages), source_block),
        **repeat("resblocks", range(num_stages * len(config.resblock_kernels)), block),
        **inside("conv_post", _normed(bins, channels[-1], 7)),
        **inside("f0_predictor", _f0_predictor(config.f0_channels, is_causal=is_causal)),
    }
    for stage in range(num_stages):
        shapes |= inside("source_downs", down(stage))
    return shapes


def _pre_kernel(config: HiftConfig) -> int:
    return config.lookahead_frames + 1 if config.version == "cosyvoice3" else 7


def _down_strides(rates: tuple[int, ...]) -> list[int]:
    """By stage, how much coarser than the last stage its frames are: 15, 3, 1."""
    strides = [1]
    for rate in reversed(rates[1:]):
        strides.insert(0, strides[0] * rate)
    return strides


def _resblock(width: int, kernel: int, num_dilations: int) -> Shapes:
    numbers = range(num_dilations)
    shapes: Shapes = {}
    for half in (1, 2):
        shapes |= repeat(f"convs{half}", numbers, lambda _: _normed(width, width, kernel))
        shapes |= repeat(f"activations{half}", numbers, lambda _: {"alpha": (width,)})
    return shapes


def _f0_predictor(width: int, *, is_causal: bool) -> Shapes:
    first = _normed(width, MELS, 4 if is_causal else 3)
    return {
        **inside("condnet.0", first),
        **repeat("condnet", (2, 4, 6, 8), lambda _: _normed(width, width, 3)),
        **affine("classifier", 1, width),
    }


# --- of tables


def _normed(first: int, second: int, kernel: int, bias: int | None = None) -> Shapes:
    """A convolution stored as length and direction (weight norm over all axes but the first)."""
    return {"bias": (bias or first,), G: (first, 1, 1), V: (first, second, kernel)}
