"""The sizes of a model, from its YAML and the `config.json` of its language model.

Values that our networks have as sizes are read; values they do not have must be the ones the
networks were written for, or the model is refused by the name of the value. Training's part of
the file is not looked at. Whether the weights have these sizes is asked by `weights`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from kouji.errors import ModelError
from kouji.models.archives.pickles import printable
from kouji.models.cosyvoice.config import (
    FRAMES_PER_TOKEN,
    LOOKAHEAD_TOKENS,
    MELS,
    SAMPLE_RATE,
    SAMPLES_PER_FRAME,
    SPEAKER_WIDTH,
    TOKEN_RATE_HZ,
    CosyVoiceConfig,
    DiTConfig,
    FlowConfig,
    HiftConfig,
    LMConfig,
    SamplingConfig,
    UNetConfig,
    Version,
)
from kouji.models.cosyvoice.files.plain_yaml import read_yaml
from kouji.models.cosyvoice.files.section import Section
from kouji.models.cosyvoice.text.special_tokens import END_OF_PROMPT
from kouji.models.cosyvoice.text.tokenizer import number_special_tokens, read_vocabulary

FIRST_YAML = "cosyvoice.yaml"  # of the 300M models, which this package does not speak
YAMLS: Mapping[str, Version] = {
    "cosyvoice2.yaml": "cosyvoice2",
    "cosyvoice3.yaml": "cosyvoice3",
}
QWEN_FOLDER = "CosyVoice-BlankEN"
MEL_FMAX_HZ = (8_000.0, 12_000.0)  # of version 2 and 3: the mels that are known
UP_BLOCKS = 4  # of version 2's encoder behind its upsampling; in no file
_POSITION_GROUPS = 16  # of the DiT's convolutions, which must divide its width
_CONFIG_BYTES = 64 << 10


def find_yaml(folder: Path) -> tuple[Path, Version] | None:
    """The file that says which version a folder holds, in the official order; None: no model.

    raises: ModelError for a model of the first generation
    """
    if (folder / FIRST_YAML).is_file():
        raise ModelError(
            "the models of the first CosyVoice (300M) are not spoken",
            seen=folder / FIRST_YAML,
            allowed=", ".join(YAMLS),
            cure="use version 3: kouji pull cosyvoice3",
        )
    for name, version in YAMLS.items():
        if (folder / name).is_file():
            return folder / name, version
    return None


def read_config(folder: Path) -> CosyVoiceConfig:
    """The sizes of a model directory.

    raises: ModelError for a folder without YAML, for a value that is missing or of a wrong kind,
            and for one that our networks do not have, each by its name
    """
    found = find_yaml(folder)
    if found is None:
        raise ModelError(
            "this folder is no CosyVoice model",
            seen=folder,
            allowed=f"a folder with {' or '.join(YAMLS)}",
            cure="check the path, or run: kouji pull cosyvoice3",
        )
    path, version = found
    whole = Section(read_yaml(path), path)
    qwen = folder / QWEN_FOLDER / "config.json"
    _check_whole(whole, version)
    lm = _lm(whole, Section(_read_json(qwen), qwen), version)
    return CosyVoiceConfig(
        version,
        _mel_fmax(whole.section("feat_extractor")),
        lm,
        _flow(whole, version, lm.codebook),
        _hift(whole.section("hift"), version),
        _sampling(whole.section("llm.sampling")),
    )


def _read_json(path: Path) -> Any:
    try:
        data = path.read_bytes()
        if len(data) > _CONFIG_BYTES:
            raise ValueError(f"{len(data)} bytes")
        return json.loads(data)
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            "the config of a model's language model cannot be read",
            seen=f"{path}: {printable(str(error))}",
            cure="run: kouji pull cosyvoice3, or take the file that came with these weights",
        ) from error


def _check_whole(whole: Section, version: Version) -> None:
    whole.has(sample_rate=SAMPLE_RATE)
    whole.must(
        token_frame_rate=TOKEN_RATE_HZ,
        token_mel_ratio=FRAMES_PER_TOKEN,
        spk_embed_dim=SPEAKER_WIDTH,
    )
    named = whole.get("get_tokenizer.version")
    if named not in (None, version):
        raise whole.misfit("get_tokenizer.version", repr(version))


def _mel_fmax(mel: Section) -> float:
    """The upper edge of the flow's mel in Hz; null is half the sample rate."""
    hop = SAMPLES_PER_FRAME
    mel.has(n_fft=4 * hop, win_size=4 * hop, hop_size=hop, num_mels=MELS, sampling_rate=SAMPLE_RATE)
    mel.must(fmin=0, center=False)
    fmax = SAMPLE_RATE / 2 if mel.get("fmax") is None else mel.number("fmax", 0, SAMPLE_RATE / 2)
    if fmax not in MEL_FMAX_HZ:
        raise mel.misfit("fmax", f"null, {' or '.join(f'{edge:g}' for edge in MEL_FMAX_HZ)}")
    return fmax


def _lm(whole: Section, qwen: Section, version: Version) -> LMConfig:
    speech = whole.section("llm")
    qwen.must(model_type="qwen2", hidden_act="silu", rope_scaling=None, use_sliding_window=False)
    hidden, heads = qwen.count("hidden_size"), qwen.count("num_attention_heads", most=1024)
    kv_heads = qwen.count("num_key_value_heads", most=1024)
    if hidden % heads:
        raise qwen.misfit("num_attention_heads", f"a divisor of {hidden}")
    if heads % kv_heads:
        raise qwen.misfit("num_key_value_heads", f"a divisor of {heads}")
    speech.has(llm_input_size=hidden, llm_output_size=hidden)
    mix = speech.counts("mix_ratio")
    if len(mix) != 2:
        raise speech.misfit("mix_ratio", "two whole numbers, of text and of speech tokens")
    special = number_special_tokens(read_vocabulary(qwen.source.parent), version)
    rows = qwen.count("vocab_size")
    if rows <= max(special.values()):
        raise qwen.misfit("vocab_size", f"more than {max(special.values())}")
    theta = "rope_theta" if qwen.get("rope_theta") is not None else "rope_parameters.rope_theta"
    qwen.must(**{"rope_parameters.rope_type": "default"})
    return LMConfig(
        version,
        num_layers=qwen.count("num_hidden_layers", most=1024),
        hidden=hidden,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_width=qwen.count("head_dim") if qwen.get("head_dim") else hidden // heads,
        intermediate=qwen.count("intermediate_size"),
        norm_epsilon=qwen.number("rms_norm_eps", 1e-12, 1e-1),
        rope_theta=qwen.number(theta, 1.0, 1e12),
        text_rows=rows,
        codebook=speech.count("speech_token_size"),
        end_of_prompt=special[END_OF_PROMPT],
        mix_text=mix[0],
        mix_speech=mix[1],
    )


def _sampling(values: Section) -> SamplingConfig:
    return SamplingConfig(
        top_p=values.number("top_p", 0.0, 1.0),
        top_k=values.count("top_k"),
        window=values.count("win_size"),
        share=values.number("tau_r", 0.0, 1.0),
    )


# --- the flow


def _flow(whole: Section, version: Version, codebook: int) -> FlowConfig:
    flow = whole.section("flow")
    flow.has(output_size=MELS, vocab_size=codebook, pre_lookahead_len=LOOKAHEAD_TOKENS)
    flow.must(
        spk_embed_dim=SPEAKER_WIDTH,
        input_frame_rate=TOKEN_RATE_HZ,
        token_mel_ratio=FRAMES_PER_TOKEN,
        output_type="mel",
    )
    decoder = flow.section("decoder")
    decoder.must(spk_emb_dim=MELS, n_spks=1)
    # One level down in the official files, where a class around it takes it for its content.
    is_wrapped = decoder.get("cfm_params.content") is not None
    solver = decoder.section("cfm_params.content" if is_wrapped else "cfm_params")
    solver.has(solver="euler", t_scheduler="cosine")
    estimator = decoder.section("estimator")
    chunk_tokens = _chunk_tokens(estimator)
    channels: int
    network: DiTConfig | UNetConfig
    if version == "cosyvoice3":
        network, channels = _dit(flow, estimator)
    else:
        network, channels = _unet(flow, estimator, chunk_tokens)
    return FlowConfig(
        version,
        codebook,
        chunk_tokens,
        LOOKAHEAD_TOKENS,
        channels,
        solver.number("inference_cfg_rate", 0.0, 10.0),
        estimator=network,
    )


def _chunk_tokens(estimator: Section) -> int:
    """Tokens of a chunk of the causal mask. How many chunks a stream looks back is not read: the
    official files differ in it, and ours sees all of them, as the released ones."""
    frames = estimator.count("static_chunk_size", most=1 << 14)
    if frames % FRAMES_PER_TOKEN:
        raise estimator.misfit("static_chunk_size", f"a multiple of {FRAMES_PER_TOKEN} frames")
    return frames // FRAMES_PER_TOKEN


def _dit(flow: Section, estimator: Section) -> tuple[DiTConfig, int]:
    flow.has(input_size=MELS)
    lookahead = flow.section("pre_lookahead_layer")
    lookahead.has(in_channels=MELS)
    lookahead.must(pre_lookahead_len=LOOKAHEAD_TOKENS)
    estimator.must(mel_dim=MELS, mu_dim=MELS, spk_dim=MELS, out_channels=MELS)
    estimator.must(long_skip_connection=False)
    config = DiTConfig(
        dim=estimator.count("dim"),
        depth=estimator.count("depth", most=1024),
        num_heads=estimator.count("heads", most=1024),
        head_width=estimator.count("dim_head", most=1024),
        ff_mult=estimator.count("ff_mult", most=64),
    )
    if config.dim % _POSITION_GROUPS:
        raise estimator.misfit("dim", f"a multiple of {_POSITION_GROUPS}")
    if config.head_width % 2:
        raise estimator.misfit("dim_head", "an even number")
    return config, lookahead.count("channels")


def _unet(flow: Section, estimator: Section, chunk_tokens: int) -> tuple[UNetConfig, int]:
    encoder = flow.section("encoder")
    width, heads = encoder.count("output_size"), encoder.count("attention_heads", most=1024)
    flow.has(input_size=width)
    encoder.has(input_size=width)
    encoder.must(
        normalize_before=True,
        input_layer="linear",
        pos_enc_layer_type="rel_pos_espnet",
        selfattention_layer_type="rel_selfattn",
        use_cnn_module=False,
        macaron_style=False,
        static_chunk_size=chunk_tokens,
    )
    if width % heads:
        raise encoder.misfit("attention_heads", f"a divisor of {width}")
    estimator.must(in_channels=4 * MELS, out_channels=MELS, act_fn="gelu")
    channels = estimator.counts("channels")
    if len(channels) != 1:
        raise estimator.misfit("channels", "one level")
    config = UNetConfig(
        encoder_dim=width,
        encoder_heads=heads,
        encoder_ff=encoder.count("linear_units"),
        num_blocks=encoder.count("num_blocks", most=1024),
        num_up_blocks=UP_BLOCKS,
        channels=channels[0],
        num_mid_blocks=estimator.count("num_mid_blocks", most=1024),
        num_transformers=estimator.count("n_blocks", most=1024),
        num_heads=estimator.count("num_heads", most=1024),
        head_width=estimator.count("attention_head_dim", most=1024),
    )
    return config, width


# --- the vocoder


def _hift(hift: Section, version: Version) -> HiftConfig:
    hift.has(sampling_rate=SAMPLE_RATE, in_channels=MELS)
    predictor, transform = hift.section("f0_predictor"), hift.section("istft_params")
    predictor.has(in_channels=MELS)
    predictor.must(num_class=1)
    official = HiftConfig(version)
    transform.has(n_fft=official.n_fft, hop_len=official.hop_length)
    config = HiftConfig(
        version,
        base_channels=hift.count("base_channels"),
        f0_channels=predictor.count("cond_channels"),
        num_harmonics=hift.count("nb_harmonics", most=64),
        sine_amplitude=hift.number("nsf_alpha", 0.0, 10.0),
        noise_sigma=hift.number("nsf_sigma", 0.0, 10.0),
        voiced_threshold_hz=hift.number("nsf_voiced_threshold", 0.0, 1_000.0),
        upsample_rates=hift.counts("upsample_rates"),
        upsample_kernels=hift.counts("upsample_kernel_sizes"),
        resblock_kernels=hift.counts("resblock_kernel_sizes"),
        resblock_dilations=hift.lists("resblock_dilation_sizes"),
        source_kernels=hift.counts("source_resblock_kernel_sizes"),
        source_dilations=hift.lists("source_resblock_dilation_sizes"),
        leaky_slope=hift.number("lrelu_slope", 0.0, 1.0),
        audio_limit=hift.number("audio_limit", 1e-3, 1.0),
    )
    if version == "cosyvoice3":
        hift.has(conv_pre_look_right=official.lookahead_frames)
    _check_stages(hift, config)
    return config


def _check_stages(hift: Section, config: HiftConfig) -> None:
    """Lists that go together have one length, and a frame of mel becomes 480 samples."""
    rates, stages = config.upsample_rates, len(config.upsample_rates)
    if prod(rates) * config.hop_length != SAMPLES_PER_FRAME:
        raise hift.misfit(
            "upsample_rates", f"a product of {SAMPLES_PER_FRAME // config.hop_length}"
        )
    for name, items, wanted in (
        ("upsample_kernel_sizes", config.upsample_kernels, stages),
        ("resblock_dilation_sizes", config.resblock_dilations, len(config.resblock_kernels)),
        ("source_resblock_kernel_sizes", config.source_kernels, stages),
        ("source_resblock_dilation_sizes", config.source_dilations, stages),
    ):
        if len(items) != wanted:
            raise hift.misfit(name, f"{wanted} of them")
    odd = {"resblock_kernel_sizes": config.resblock_kernels}
    odd["source_resblock_kernel_sizes"] = config.source_kernels
    for name, kernels in odd.items():
        if any(kernel % 2 == 0 for kernel in kernels):
            raise hift.misfit(name, "odd numbers")
    if any(k < u for k, u in zip(config.upsample_kernels, rates, strict=True)):
        raise hift.misfit("upsample_kernel_sizes", "no kernel shorter than its rate")
    if config.base_channels % (1 << stages):
        raise hift.misfit("base_channels", f"a multiple of {1 << stages}")
