"""A whole CosyVoice model directory of toy widths with random weights, in the official layout.

YAML with its tags, torch zips with the official keys, a tokenizer of our own making and real ONNX
graphs: real containers, real code paths. The language model speaks a while and then ends, the
vocoder's sound is voiced, finite and not silent.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from kouji.models.cosyvoice.config import (
    CosyVoiceConfig,
    DiTConfig,
    FlowConfig,
    HiftConfig,
    LMConfig,
    UNetConfig,
)
from kouji.models.cosyvoice.files.keys import LM_HEAD, G, V, expected_shapes

Version = Literal["cosyvoice3", "cosyvoice2"]

CODEBOOK = 81
CHUNK_TOKENS = 5
TEXT_ROWS = 768
WHOLE_CHARACTERS = "你好世界今天气很希望以后能够做的比我还请用四川话说一句收到朋友从远方寄来生日物"
_MERGES = (("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n"), ("e", "r"), ("o", "u"), ("in", "g"))
_QWEN_FOLDER = "CosyVoice-BlankEN"
_STEADY = 3.0  # of channel 0 of every embedding, by which the rows of the head can be told apart


def tiny_config(version: Version = "cosyvoice3") -> CosyVoiceConfig:
    """The sizes of the directory, as reading it must give them."""
    lm = LMConfig(
        version, 2, 32, 4, 2, 8, 64, text_rows=TEXT_ROWS, codebook=CODEBOOK,
        end_of_prompt=256 + len(_merges()) + 3,
    )  # fmt: skip
    if version == "cosyvoice3":
        flow = FlowConfig(
            version, CODEBOOK, CHUNK_TOKENS, lookahead_channels=48,
            estimator=DiTConfig(dim=64, depth=2, num_heads=4, head_width=16, ff_mult=2),
        )  # fmt: skip
    else:
        unet = UNetConfig(
            encoder_dim=32, encoder_heads=4, encoder_ff=48, num_blocks=2, num_up_blocks=4,
            channels=32, num_mid_blocks=2, num_transformers=1, num_heads=4, head_width=8,
        )  # fmt: skip
        flow = FlowConfig(version, CODEBOOK, CHUNK_TOKENS, lookahead_channels=32, estimator=unet)
    hift = HiftConfig(version, base_channels=32, f0_channels=24)
    fmax = 12_000.0 if version == "cosyvoice3" else 8_000.0
    return CosyVoiceConfig(version, fmax, lm, flow, hift)


def make_tiny_cosyvoice(folder: Path, version: Version = "cosyvoice3", seed: int = 0) -> Path:
    """Write the directory; equal seeds write equal tensors."""
    config = tiny_config(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{version}.yaml").write_text(yaml_text(version), encoding="utf-8")
    torch.save(llm_state(config, seed), folder / "llm.pt")
    torch.save(flow_state(config, seed + 1), folder / "flow.pt")
    torch.save(hift_state(config, seed + 2), folder / "hift.pt")
    write_tokenizer(folder / _QWEN_FOLDER, config.lm)
    write_campplus(folder / "campplus.onnx", seed + 3)
    number = version[-1]
    write_speech_tokenizer(folder / f"speech_tokenizer_v{number}.onnx", seed + 4)
    return folder


# --- weights


def llm_state(config: CosyVoiceConfig, seed: int) -> dict[str, Tensor]:
    """A language model that speaks: of the ids that stop it only the end token is likely."""
    state = _random(expected_shapes(config, "llm"), seed)
    head, first = state["llm_decoder.weight"], config.lm.first_stop
    state[LM_HEAD] = state["llm.model.model.embed_tokens.weight"]  # one storage, as upstream
    for name in ("llm.model.model.embed_tokens.weight", "speech_embedding.weight"):
        state[name][:, 0] = _STEADY
    for name in [name for name in state if name.endswith(("o_proj.weight", "down_proj.weight"))]:
        state[name][0] = 0.0  # no layer adds to it
    head[:, 0] = 0.0
    head[first:, 0] = -8.0
    head[config.lm.eos, 0] = 0.6
    return state


def flow_state(config: CosyVoiceConfig, seed: int) -> dict[str, Tensor]:
    """A flow; the rotation's frequencies are a buffer, not drawn."""
    state = _random(expected_shapes(config, "flow"), seed)
    estimator = config.flow.estimator
    if isinstance(estimator, DiTConfig):
        exponents = torch.arange(0, estimator.head_width, 2) / estimator.head_width
        state["decoder.estimator.rotary_embed.inv_freq"] = 10_000.0**-exponents
    return state


def hift_state(config: CosyVoiceConfig, seed: int) -> dict[str, Tensor]:
    """A vocoder whose pitch lies about 150 Hz and whose sound about -30 dB."""
    state = _random(expected_shapes(config, "hift"), seed)
    for name in [name for name in state if name.endswith(G)]:
        direction = state[name.removesuffix(G) + V]
        state[name] = direction.flatten(1).norm(dim=1).reshape(state[name].shape)
    state[f"conv_post.{G}"] *= 0.1
    state["conv_post.bias"][: config.hift.n_fft // 2 + 1] -= 1.0
    state["f0_predictor.classifier.weight"] *= 20.0
    state["f0_predictor.classifier.bias"][:] = 150.0
    return state


def _random(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        fan_in = max(1, torch.Size(shape[1:]).numel())
        value = torch.randn(shape, generator=rng)
        if "embedding.weight" in name or "embed_tokens" in name:
            state[name] = value
        elif name.endswith("alpha") or (len(shape) == 1 and name.endswith("weight")):
            state[name] = 1 + 0.1 * value  # of a norm, or of Snake
        elif len(shape) == 1:
            state[name] = 0.1 * value
        else:
            state[name] = value / fan_in**0.5
    return state


# --- the tokenizer


def byte_symbols() -> list[str]:
    """The 256 characters that stand for bytes in byte-level BPE (GPT-2), in its order."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    symbols = {byte: chr(byte) for byte in shown}
    symbols |= {byte: chr(256 + index) for index, byte in enumerate(hidden)}
    return [symbols[byte] for byte in range(256)]


def _merges() -> list[tuple[str, str]]:
    """Some English pieces, and what makes one token of each of `WHOLE_CHARACTERS`."""
    symbols = byte_symbols()
    merges = list(_MERGES)
    for character in WHOLE_CHARACTERS:
        first, second, third = (symbols[byte] for byte in character.encode())
        merges += [(first, second), (first + second, third)]
    return list(dict.fromkeys(merges))


def write_tokenizer(folder: Path, config: LMConfig) -> Path:
    """CosyVoice-BlankEN without its weights, which nobody reads."""
    merges = _merges()
    signs = [*byte_symbols(), *("".join(pair) for pair in merges)]
    base = len(signs)
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    facts = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    tokenizer: dict[str, Any] = {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(base + place): {"content": sign, **facts, "special": True}
            for place, sign in enumerate(special)
        },
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": None,
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    network = {
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_act": "silu",
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "model_type": "qwen2",
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "num_key_value_heads": config.num_kv_heads,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "vocab_size": config.text_rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {sign: place for place, sign in enumerate(signs)}
    _write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_json(folder / "tokenizer_config.json", tokenizer)
    _write_json(folder / "config.json", network)
    _write_json(folder / "generation_config.json", {"do_sample": True, "eos_token_id": [base]})
    return folder


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


# --- the ONNX networks


def write_campplus(path: Path, seed: int = 3, width: int = 192) -> Path:
    """[1, frames, 80] of any values to [1, 192]; of its mean, which is not 0 past the ramp."""
    from onnx import helper

    rng = torch.Generator().manual_seed(seed)
    weight = torch.randn(80, width, generator=rng)
    nodes = [
        helper.make_node("Relu", ["input"], ["ramp"]),
        helper.make_node("ReduceMean", ["ramp"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "weight"], ["output"]),
    ]
    return _write_onnx(
        path, nodes, {"weight": weight}, [("input", "float", [1, "frames", 80])],
        [("output", "float", [1, width])],
    )  # fmt: skip


def write_speech_tokenizer(
    path: Path, seed: int = 4, codebook: int = CODEBOOK, num_bands: int = 128
) -> Path:
    """[1, 128, frames] and their number to [1, frames / 4] ids of the codebook."""
    from onnx import TensorProto, helper

    rng = torch.Generator().manual_seed(seed)
    numbers = {
        "weight": 4.0 * torch.randn(1, num_bands, 4, generator=rng),
        "four": torch.tensor([4], dtype=torch.int32),
        "zero": torch.tensor([0], dtype=torch.int32),
        "last_axis": torch.tensor([2], dtype=torch.int32),
        "codebook": torch.tensor(codebook, dtype=torch.int32),
        "first_axis": torch.tensor([1]),
    }
    nodes = [
        helper.make_node("Conv", ["feats", "weight"], ["sums"], strides=[4]),
        helper.make_node("Div", ["feats_length", "four"], ["num_tokens"]),
        helper.make_node("Slice", ["sums", "zero", "num_tokens", "last_axis"], ["valid"]),
        helper.make_node("Cast", ["valid"], ["whole"], to=TensorProto.INT32),
        helper.make_node("Mod", ["whole", "codebook"], ["ids"]),
        helper.make_node("Squeeze", ["ids", "first_axis"], ["indices"]),
    ]
    return _write_onnx(
        path, nodes, numbers,
        [("feats", "float", [1, num_bands, "frames"]), ("feats_length", "int32", [1])],
        [("indices", "int32", [1, "tokens"])],
    )  # fmt: skip


def _write_onnx(
    path: Path, nodes: list[Any], numbers: dict[str, Tensor], inputs: list[Any], outputs: list[Any]
) -> Path:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    types = {"float": TensorProto.FLOAT, "int32": TensorProto.INT32}

    def infos(described: list[Any]) -> list[Any]:
        return [
            helper.make_tensor_value_info(name, types[kind], shape)
            for name, kind, shape in described
        ]

    initial = [numpy_helper.from_array(value.numpy(), name) for name, value in numbers.items()]
    graph = helper.make_graph(nodes, "tiny", infos(inputs), infos(outputs), initial)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


# --- the YAML


def yaml_text(version: Version = "cosyvoice3") -> str:
    """The official file's layout, its training part too, with our sizes."""
    if version == "cosyvoice3":
        parts = (_CV3_LLM, _CV3_FLOW, _CV3_HIFT)
        last = _TRAINING.replace("FMAX", "null").replace("VERSION", "version: cosyvoice3")
    else:
        parts = (_CV2_LLM, _CV2_FLOW, _CV2_HIFT)
        last = _TRAINING.replace("FMAX", "8000").replace("VERSION", "")
    return "\n".join((_FIRST, *parts, last))


_FIRST = f"""
__set_seed1: !apply:random.seed [1986]
__set_seed3: !apply:torch.manual_seed [1986]

sample_rate: 24000
llm_input_size: 32
llm_output_size: 32
spk_embed_dim: 192
qwen_pretrain_path: ''
token_frame_rate: 25
token_mel_ratio: 2
chunk_size: {CHUNK_TOKENS}
num_decoding_left_chunks: -1
"""

_LLM = f"""
llm: !new:cosyvoice.llm.llm.CLASS
    llm_input_size: !ref <llm_input_size>
    llm_output_size: !ref <llm_output_size>
    speech_token_size: {CODEBOOK}
    length_normalized_loss: True
    lsm_weight: 0
    mix_ratio: [5, 15]
    llm: !new:cosyvoice.llm.llm.Qwen2Encoder
        pretrain_path: !ref <qwen_pretrain_path>
    sampling: !name:cosyvoice.utils.common.ras_sampling
        top_p: 0.8
        top_k: 25
        win_size: 10
        tau_r: 0.1
"""
_CV3_LLM = _LLM.replace("CLASS", "CosyVoice3LM")
_CV2_LLM = _LLM.replace("CLASS", "Qwen2LM")

_FLOW = f"""
flow: !new:cosyvoice.flow.flow.CLASS
    input_size: WIDTH
    output_size: 80
    spk_embed_dim: !ref <spk_embed_dim>
    output_type: 'mel'
    vocab_size: {CODEBOOK}
    input_frame_rate: !ref <token_frame_rate>
    only_mask_loss: True
    token_mel_ratio: !ref <token_mel_ratio>
    pre_lookahead_len: 3
BEFORE
    decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
        in_channels: 240
        n_spks: 1
        spk_emb_dim: 80
        cfm_params: !new:omegaconf.DictConfig
            content:
                sigma_min: 1e-06
                solver: 'euler'
                t_scheduler: 'cosine'
                training_cfg_rate: 0.2
                inference_cfg_rate: 0.7
                reg_loss_type: 'l1'
ESTIMATOR
            static_chunk_size: !ref <chunk_size> * <token_mel_ratio>
            num_decoding_left_chunks: !ref <num_decoding_left_chunks>
"""
_CV3_FLOW = (
    _FLOW.replace("CLASS", "CausalMaskedDiffWithDiT")
    .replace("WIDTH", "80")
    .replace(
        "BEFORE",
        """
    pre_lookahead_layer: !new:cosyvoice.transformer.upsample_encoder.PreLookaheadLayer
        in_channels: 80
        channels: 48
        pre_lookahead_len: 3
""",
    )
    .replace(
        "ESTIMATOR",
        """
        estimator: !new:cosyvoice.flow.DiT.dit.DiT
            dim: 64
            depth: 2
            heads: 4
            dim_head: 16
            ff_mult: 2
            mel_dim: 80
            mu_dim: 80
            spk_dim: 80
            out_channels: 80
""",
    )
)
_CV2_FLOW = (
    _FLOW.replace("CLASS", "CausalMaskedDiffWithXvec")
    .replace("WIDTH", "32")
    .replace(
        "BEFORE",
        """
    encoder: !new:cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder
        output_size: 32
        attention_heads: 4
        linear_units: 48
        num_blocks: 2
        dropout_rate: 0.1
        positional_dropout_rate: 0.1
        attention_dropout_rate: 0.1
        normalize_before: True
        input_layer: 'linear'
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'rel_selfattn'
        input_size: 32
        use_cnn_module: False
        macaron_style: False
        static_chunk_size: !ref <chunk_size>
""",
    )
    .replace(
        "ESTIMATOR",
        """
        estimator: !new:cosyvoice.flow.decoder.CausalConditionalDecoder
            in_channels: 320
            out_channels: 80
            channels: [32]
            dropout: 0.0
            attention_head_dim: 8
            n_blocks: 1
            num_mid_blocks: 2
            num_heads: 4
            act_fn: 'gelu'
""",
    )
)

_HIFT = """
hift: !new:cosyvoice.hifigan.generator.CLASS
    in_channels: 80
    base_channels: 32
    nb_harmonics: 8
    sampling_rate: !ref <sample_rate>
    nsf_alpha: 0.1
    nsf_sigma: 0.003
    nsf_voiced_threshold: 10
    upsample_rates: [8, 5, 3]
    upsample_kernel_sizes: [16, 11, 7]
    istft_params:
        n_fft: 16
        hop_len: 4
    resblock_kernel_sizes: [3, 7, 11]
    resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    source_resblock_kernel_sizes: [7, 7, 11]
    source_resblock_dilation_sizes: [[1, 3, 5], [1, 3, 5], [1, 3, 5]]
    lrelu_slope: 0.1
    audio_limit: 0.99
    f0_predictor: !new:cosyvoice.hifigan.f0_predictor.PREDICTOR
        num_class: 1
        in_channels: 80
        cond_channels: 24
"""
_CV3_HIFT = (
    _HIFT.replace("CLASS", "CausalHiFTGenerator")
    .replace("PREDICTOR", "CausalConvRNNF0Predictor")
    .replace("    f0_pred", "    conv_pre_look_right: 4\n    f0_pred")
)
_CV2_HIFT = _HIFT.replace("CLASS", "HiFTGenerator").replace("PREDICTOR", "ConvRNNF0Predictor")

_TRAINING = """
hifigan: !new:cosyvoice.hifigan.hifigan.HiFiGan
    generator: !ref <hift>
    discriminator: !new:cosyvoice.hifigan.discriminator.MultipleDiscriminator
        mpd: !new:matcha.hifigan.models.MultiPeriodDiscriminator
        mrd: !new:cosyvoice.hifigan.discriminator.MultiResSpecDiscriminator
parquet_opener: !name:cosyvoice.dataset.processor.parquet_opener
get_tokenizer: !name:cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer
    token_path: !ref <qwen_pretrain_path>
    skip_special_tokens: True
    VERSION
allowed_special: 'all'
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
    n_fft: 1920
    num_mels: 80
    sampling_rate: !ref <sample_rate>
    hop_size: 480
    win_size: 1920
    fmin: 0
    fmax: FMAX
    center: False
data_pipeline: [
    !ref <parquet_opener>,
    !ref <feat_extractor>,
]
train_conf:
    optim: adam
    optim_conf:
        lr: 1e-5
"""
