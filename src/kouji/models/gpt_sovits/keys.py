"""Which tensors a checkpoint must hold, by rule from its sizes, and what differs.

A report groups names by their numbers, `model.h.layers.{0..23}.linear1.weight`, so that a wrong
file reads in a few lines and not in eight hundred. Knows names and shapes, never values.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from kouji.errors import ModelError
from kouji.models.archives.pickles import printable
from kouji.models.gpt_sovits.config import SoVITSConfig, T2SConfig

Shape = tuple[int, ...]
Shapes = dict[str, Shape]

_CODEBOOK = "quantizer.vq.layers.0._codebook."
_PROJECTIONS = ("conv_q", "conv_k", "conv_v", "conv_o")
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_MOST_LINES = 6  # of each sort in a report


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
        **_affine("self_attn.out_proj", width, width),
        **_affine("norm1", width),
        **_affine("norm2", width),
    }
    shapes = {
        **_affine("bert_proj", width, config.bert_channels),
        "ar_text_embedding.word_embeddings.weight": (config.num_phones, width),
        "ar_text_position.alpha": (1,),
        "ar_audio_embedding.word_embeddings.weight": (config.vocabulary, width),
        "ar_audio_position.alpha": (1,),
        **_repeat("h.layers", range(config.num_layers), lambda _: layer),
        "ar_predict_layer.weight": (config.vocabulary, width),
    }
    return _inside("model", shapes)


def expected_sovits(config: SoVITSConfig) -> Shapes:
    """Names and shapes of a whole SoVITS checkpoint's `weight`, as training knows it."""
    width, style = config.hidden, config.style_channels
    flow = {
        **_affine("pre", width, config.latent // 2, 1),
        **_inside("enc", _gated_stack(width, config.flow_kernel, config.flow_layers, style)),
        **_affine("post", config.latent // 2, width, 1),
    }
    posterior = {
        **_affine("pre", width, config.spectrum_bins, 1),
        **_inside("enc", _gated_stack(width, config.flow_kernel, config.posterior_layers, style)),
        **_affine("proj", 2 * config.latent, width, 1),
    }
    shapes = {
        **_inside("enc_p", _prior(config)),
        **_inside("dec", _generator(config)),
        **_inside("enc_q", posterior),
        **_repeat("flow.flows", range(0, 2 * config.num_flows, 2), lambda _: flow),
        **_inside("ref_enc", _style_encoder(config)),
        **_affine("ssl_proj", config.ssl_channels, config.ssl_channels, 2),
        f"{_CODEBOOK}inited": (1,),
        f"{_CODEBOOK}cluster_size": (config.codebook_size,),
        f"{_CODEBOOK}embed": (config.codebook_size, config.ssl_channels),
        f"{_CODEBOOK}embed_avg": (config.codebook_size, config.ssl_channels),
    }
    if config.has_speaker:
        shapes |= _affine("sv_emb", style, config.speaker_channels)
        shapes |= _affine("ge_to512", config.mrte_channels, style)
        shapes["prelu.weight"] = (style,)
    return shapes


def _prior(config: SoVITSConfig) -> Shapes:
    width, meeting = config.hidden, config.mrte_channels
    crossing: Shapes = dict.fromkeys(_PROJECTIONS, (meeting, meeting, 1))
    return {
        **_affine("ssl_proj", width, config.ssl_channels, 1),
        **_inside("encoder_ssl", _encoder(config, config.token_layers)),
        **_inside("encoder_text", _encoder(config, config.text_layers)),
        "text_embedding.weight": (config.num_phones, width),
        **_inside(
            "mrte",
            {
                **_inside("cross_attention", _affines(crossing)),
                **_affine("c_pre", meeting, width, 1),
                **_affine("text_pre", meeting, width, 1),
                **_affine("c_post", width, meeting, 1),
            },
        ),
        **_inside("encoder2", _encoder(config, config.joint_layers)),
        **_affine("proj", 2 * config.latent, width, 1),
    }


def _encoder(config: SoVITSConfig, num_layers: int) -> Shapes:
    width, kernel = config.hidden, config.kernel
    relative = (1, 2 * config.window + 1, width // config.num_heads)
    projections: Shapes = dict.fromkeys(_PROJECTIONS, (width, width, 1))
    attention = {"emb_rel_k": relative, "emb_rel_v": relative, **_affines(projections)}
    feed_forward = {
        **_affine("conv_1", config.feed_forward, width, kernel),
        **_affine("conv_2", width, config.feed_forward, kernel),
    }
    norm: Shapes = {"gamma": (width,), "beta": (width,)}
    layers = range(num_layers)
    return {
        **_repeat("attn_layers", layers, lambda _: attention),
        **_repeat("norm_layers_1", layers, lambda _: norm),
        **_repeat("ffn_layers", layers, lambda _: feed_forward),
        **_repeat("norm_layers_2", layers, lambda _: norm),
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
            **_repeat("convs1", range(len(dilations[kind])), lambda _: conv),
            **_repeat("convs2", range(len(dilations[kind])), lambda _: conv),
        }

    def stage(number: int) -> Shapes:
        # A transposed convolution: its first axis is the input, and so is that of its norm.
        into, out, kernel = channels[number], channels[number + 1], config.upsample_kernels[number]
        return {**_normed(into, out, kernel), "bias": (out,)}

    return {
        **_affine("conv_pre", first, config.latent, 7),
        **_repeat("ups", range(num_stages), stage),
        **_repeat("resblocks", range(num_stages * len(kernels)), resblock),
        "conv_post.weight": (1, channels[-1], 7),
        **_affine("cond", first, config.style_channels, 1),
    }


def _style_encoder(config: SoVITSConfig) -> Shapes:
    width = config.style_hidden
    attention: Shapes = dict.fromkeys(("w_qs", "w_ks", "w_vs", "fc"), (width, width))
    return {
        **_affine("spectral.0.fc", width, config.style_bins),
        **_affine("spectral.3.fc", width, width),
        **_repeat("temporal", range(2), lambda _: _affine("conv1.conv", 2 * width, width, 5)),
        **_inside("slf_attn", _affines(attention)),
        **_affine("fc.fc", config.style_channels, width),
    }


def _gated_stack(width: int, kernel: int, num_layers: int, style: int) -> Shapes:
    """Layers of a WaveNet-like stack; the last has no residual half."""

    def skip(number: int) -> Shapes:
        return _normed(width if number == num_layers - 1 else 2 * width, width, 1)

    layers = range(num_layers)
    return {
        **_repeat("in_layers", layers, lambda _: _normed(2 * width, width, kernel)),
        **_repeat("res_skip_layers", layers, skip),
        **_inside("cond_layer", _normed(2 * width * num_layers, style, 1)),
    }


def _affine(name: str, out: int, *rest: int) -> Shapes:
    return {f"{name}.weight": (out, *rest), f"{name}.bias": (out,)}


def _affines(weights: Mapping[str, Shape]) -> Shapes:
    made: Shapes = {}
    for name, shape in weights.items():
        made |= _affine(name, *shape)
    return made


def _normed(first: int, second: int, kernel: int) -> Shapes:
    """A convolution stored as direction and length (weight norm over all axes but the first)."""
    return {
        "bias": (first,),
        "weight_g": (first, 1, 1),
        "weight_v": (first, second, kernel),
    }


def _inside(prefix: str, shapes: Mapping[str, Shape]) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def _repeat(prefix: str, numbers: Iterable[int], shapes: Callable[[int], Shapes]) -> Shapes:
    made: Shapes = {}
    for number in numbers:
        made |= _inside(f"{prefix}.{number}", shapes(number))
    return made


# --- what was found


@dataclass(frozen=True)
class KeyReport:
    """How the tensors of a file differ from what its sizes demand, in grouped lines."""

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()

    @property
    def is_fitting(self) -> bool:
        """True if nothing differs."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        """All of it in one line."""
        sorts = {"missing": self.missing, "unexpected": self.unexpected}
        sorts["wrong shape"] = self.misshapen
        return "; ".join(f"{sort}: {_listed(lines)}" for sort, lines in sorts.items() if lines)


def compare_keys(weight: Mapping[str, Tensor], expected: Shapes) -> KeyReport:
    """Compare names and shapes; what only training needs may be there or not."""
    needed = {name for name in expected if not is_training_only(name)}
    surplus = weight.keys() - expected.keys()
    shapes: dict[tuple[Shape, Shape], list[str]] = defaultdict(list)
    for name in expected.keys() & weight.keys():
        seen = tuple(weight[name].shape)
        if seen != expected[name] and not is_training_only(name):
            shapes[seen, expected[name]].append(name)
    misshapen = [
        f"{line} is {_sizes(seen)}, not {_sizes(wanted)}"
        for (seen, wanted), names in shapes.items()
        for line in group_names(names)
    ]
    return KeyReport(
        group_names(needed - weight.keys()),
        group_names(name for name in surplus if not is_training_only(name)),
        tuple(sorted(misshapen)),
    )


def require_keys(weight: Mapping[str, Tensor], expected: Shapes, source: object) -> None:
    """Raise ModelError with the report unless the tensors are those expected."""
    report = compare_keys(weight, expected)
    if not report.is_fitting:
        raise ModelError(
            "the tensors of a checkpoint do not fit its network",
            seen=f"{source}: {report}",
            allowed="the tensors of an official or fine-tuned checkpoint of its version",
            cure="export it again, or fetch an official one with kouji pull",
        )


def group_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names that differ only by numbers as one line, `model.h.layers.{0..23}.norm1.bias`."""
    groups: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for name in names:
        shown = printable(name, 160).replace("{", "(").replace("}", ")")
        indices = tuple(int(found[:9]) for found in _NUMBER.findall(shown))
        groups[_NUMBER.sub("{}", shown)].append(indices)
    return tuple(sorted(_grouped(pattern, indices) for pattern, indices in groups.items()))


def _grouped(pattern: str, indices: list[tuple[int, ...]]) -> str:
    axes = [sorted(set(axis)) for axis in zip(*indices, strict=True)]
    line = pattern.format(*map(_span, axes))
    is_full = prod(map(len, axes)) == len(set(indices))
    return line if is_full else f"{line} ({len(indices)} of these)"


def _span(numbers: list[int]) -> str:
    """`7`, `{0..23}` or `{0,2,4}`."""
    first, last = numbers[0], numbers[-1]
    if len(numbers) == 1:
        return str(first)
    if last - first + 1 == len(numbers):
        return f"{{{first}..{last}}}"
    return "{" + ",".join(map(str, numbers[:12])) + (",..." if len(numbers) > 12 else "") + "}"


def _sizes(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a number"


def _listed(lines: tuple[str, ...]) -> str:
    more = len(lines) - _MOST_LINES
    return ", ".join(lines[:_MOST_LINES]) + (f" and {more} more groups" if more > 0 else "")
