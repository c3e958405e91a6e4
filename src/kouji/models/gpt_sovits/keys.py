"""Which tensors a checkpoint must hold, by rule from its sizes; knows names and shapes only."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kouji.errors import ModelError
from kouji.models.archives.key_report import Shape, Shapes, compare_keys
from kouji.models.archives.key_tables import affine, inside, repeat
from kouji.models.gpt_sovits.config import SoVITSConfig, T2SConfig

_CODEBOOK = "quantizer.vq.layers.0._codebook."
_PROJECTIONS = ("conv_q", "conv_k", "conv_v", "conv_o")


def is_training_only(name: str) -> bool:
    """True for tensors that speaking never reads; fine-tunes drop some of them."""
    statistics = (f"{_CODEBOOK}inited", f"{_CODEBOOK}cluster_size", f"{_CODEBOOK}embed_avg")
    return name.startswith("enc_q.") or name in statistics


# --- what is expected


def expected_t2s(config: T2SConfig) -> Shapes:
    """Names and shapes of a T2S checkpoint's `weight`."""
    width, inner = config.hidden, config.feed_forward
    layer = {
        "self_attn.in_proj_weight": (3 * width, width),
        "self_attn.in_proj_bias": (3 * width,),
        "linear1.weight": (inner, width),
        "linear1.bias": (inner,),
        "linear2.weight": (width, inner),
        "linear2.bias": (width,),
        **affine("self_attn.out_proj", width, width),
        **affine("norm1", width),
        **affine("norm2", width),
    }
    shapes = {
        **affine("bert_proj", width, config.bert_channels),
        "ar_text_embedding.word_embeddings.weight": (config.num_phones, width),
        "ar_text_position.alpha": (1,),
        "ar_audio_embedding.word_embeddings.weight": (config.vocabulary, width),
        "ar_audio_position.alpha": (1,),
        **repeat("h.layers", range(config.num_layers), lambda _: layer),
        "ar_predict_layer.weight": (config.vocabulary, width),
    }
    return inside("model", shapes)


def expected_sovits(config: SoVITSConfig) -> Shapes:
    """Names and shapes of a whole SoVITS checkpoint's `weight`, as training knows it."""
    width, style = config.hidden, config.style_channels
    flow = {
        **affine("pre", width, config.latent // 2, 1),
        **inside("enc", _gated_stack(width, config.flow_kernel, config.flow_layers, style)),
        **affine("post", config.latent // 2, width, 1),
    }
    posterior = {
        **affine("pre", width, config.spectrum_bins, 1),
        **inside("enc", _gated_stack(width, config.flow_kernel, config.posterior_layers, style)),
        **affine("proj", 2 * config.latent, width, 1),
    }
    shapes = {
        **inside("enc_p", _prior(config)),
        **inside("dec", _generator(config)),
        **inside("enc_q", posterior),
        **repeat("flow.flows", range(0, 2 * config.num_flows, 2), lambda _: flow),
        **inside("ref_enc", _style_encoder(config)),
        **affine("ssl_proj", config.ssl_channels, config.ssl_channels, 2),
        f"{_CODEBOOK}inited": (1,),
        f"{_CODEBOOK}cluster_size": (config.codebook_size,),
        f"{_CODEBOOK}embed": (config.codebook_size, config.ssl_channels),
        f"{_CODEBOOK}embed_avg": (config.codebook_size, config.ssl_channels),
    }
    if config.has_speaker:
        shapes |= affine("sv_emb", style, config.speaker_channels)
        shapes |= affine("ge_to512", config.mrte_channels, style)
        shapes["prelu.weight"] = (style,)
    return shapes


def _prior(config: SoVITSConfig) -> Shapes:
    width, meeting = config.hidden, config.mrte_channels
    crossing: Shapes = dict.fromkeys(_PROJECTIONS, (meeting, meeting, 1))
    return {
        **affine("ssl_proj", width, config.ssl_channels, 1),
        **inside("encoder_ssl", _encoder(config, config.token_layers)),
        **inside("encoder_text", _encoder(config, config.text_layers)),
        "text_embedding.weight": (config.num_phones, width),
        **inside(
            "mrte",
            {
                **inside("cross_attention", _affines(crossing)),
                **affine("c_pre", meeting, width, 1),
                **affine("text_pre", meeting, width, 1),
                **affine("c_post", width, meeting, 1),
            },
        ),
        **inside("encoder2", _encoder(config, config.joint_layers)),
        **affine("proj", 2 * config.latent, width, 1),
    }


def _encoder(config: SoVITSConfig, num_layers: int) -> Shapes:
    width, kernel = config.hidden, config.kernel
    relative = (1, 2 * config.window + 1, width // config.num_heads)
    projections: Shapes = dict.fromkeys(_PROJECTIONS, (width, width, 1))
    attention = {"emb_rel_k": relative, "emb_rel_v": relative, **_affines(projections)}
    feed_forward = {
        **affine("conv_1", config.feed_forward, width, kernel),
        **affine("conv_2", width, config.feed_forward, kernel),
    }
    norm: Shapes = {"gamma": (width,), "beta": (width,)}
    layers = range(num_layers)
    return {
        **repeat("attn_layers", layers, lambda _: attention),
        **repeat("norm_layers_1", layers, lambda _: norm),
        **repeat("ffn_layers", layers, lambda _: feed_forward),
        **repeat("norm_layers_2", layers, lambda _: norm),
    }


def _generator(config: SoVITSConfig) -> Shapes:
    first, num_stages = config.generator_channels, len(config.upsample_kernels)
    channels = [first >> stage for stage in range(num_stages + 1)]
    kernels, dilations = config.resblock_kernels, config.resblock_dilations

    def resblock(number: int) -> Shapes:
        stage, kind = divmod(number, len(kernels))
        width = channels[stage + 1]
        conv = _normed(width, width, kernels[kind])
        return {
            **repeat("convs1", range(len(dilations[kind])), lambda _: conv),
            **repeat("convs2", range(len(dilations[kind])), lambda _: conv),
        }

    def stage(number: int) -> Shapes:
        # A transposed convolution: its first axis is the input, and so is that of its norm.
        into, out, kernel = channels[number], channels[number + 1], config.upsample_kernels[number]
        return {**_normed(into, out, kernel), "bias": (out,)}

    return {
        **affine("conv_pre", first, config.latent, 7),
        **repeat("ups", range(num_stages), stage),
        **repeat("resblocks", range(num_stages * len(kernels)), resblock),
        "conv_post.weight": (1, channels[-1], 7),
        **affine("cond", first, config.style_channels, 1),
    }


def _style_encoder(config: SoVITSConfig) -> Shapes:
    width = config.style_hidden
    attention: Shapes = dict.fromkeys(("w_qs", "w_ks", "w_vs", "fc"), (width, width))
    return {
        **affine("spectral.0.fc", width, config.style_bins),
        **affine("spectral.3.fc", width, width),
        **repeat("temporal", range(2), lambda _: affine("conv1.conv", 2 * width, width, 5)),
        **inside("slf_attn", _affines(attention)),
        **affine("fc.fc", config.style_channels, width),
    }


def _gated_stack(width: int, kernel: int, num_layers: int, style: int) -> Shapes:
    """Layers of a WaveNet-like stack; the last has no residual half."""

    def skip(number: int) -> Shapes:
        return _normed(width if number == num_layers - 1 else 2 * width, width, 1)

    layers = range(num_layers)
    return {
        **repeat("in_layers", layers, lambda _: _normed(2 * width, width, kernel)),
        **repeat("res_skip_layers", layers, skip),
        **inside("cond_layer", _normed(2 * width * num_layers, style, 1)),
    }


def _affines(weights: Mapping[str, Shape]) -> Shapes:
    made: Shapes = {}
    for name, shape in weights.items():
        made |= affine(name, *shape)
    return made


def _normed(first: int, second: int, kernel: int) -> Shapes:
    """A convolution stored as direction and length (weight norm over all axes but the first)."""
    return {
        "bias": (first,),
        "weight_g": (first, 1, 1),
        "weight_v": (first, second, kernel),
    }


# --- what was found


def require_keys(weight: Mapping[str, Tensor], expected: Shapes, source: object) -> None:
    """Raise ModelError with the report unless the tensors are those expected."""
    report = compare_keys(weight, expected, is_training_only)
    if not report.is_fitting:
        raise ModelError(
            "the tensors of a checkpoint do not fit its network",
            seen=f"{source}: {report}",
            allowed="the tensors of an official or fine-tuned checkpoint of its version",
            cure="export it again, or fetch an official one with kouji pull",
        )
