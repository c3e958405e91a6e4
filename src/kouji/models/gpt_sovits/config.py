"""Sizes of the two networks, read from a checkpoint: its tensors' shapes, then its config.

Shapes are what the weights really are, so they come first; the config decides only what no shape
shows (upsampling rates, dilations, heads of the decoder of tokens). What neither says falls back
to the constants all official versions share. A missing tensor is left to the key check.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from kouji.errors import ModelError

TOKEN_RATE_HZ = 25  # semantic tokens a second; `semantic_frame_rate` of every served version
VERSIONS = ("v1", "v2", "v2Pro", "v2ProPlus")
V1_PHONES, V2_PHONES = 322, 732  # rows of the symbol tables
MAX_LAYERS = 256

_PHONES = "model.ar_text_embedding.word_embeddings.weight"
_TOKENS = "model.ar_audio_embedding.word_embeddings.weight"
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class T2SConfig:
    """The decoder of semantic tokens ("GPT", stage 1).

    hidden:        channels of every layer, heads included
    num_phones:    rows of the phone table
    vocabulary:    tokens, the end token included
    eos:           the end token
    bert_channels: of the feature beside each phone
    max_seconds:   longest utterance it was trained on
    """

    hidden: int = 512
    num_heads: int = 16
    num_layers: int = 24
    feed_forward: int = 2048
    num_phones: int = V2_PHONES
    vocabulary: int = 1025
    eos: int = 1024
    bert_channels: int = 1024
    max_seconds: float = 54.0

    @property
    def version(self) -> str:
        """v1, or v2 for the table that v2 and everything later share."""
        return "v1" if self.num_phones < V2_PHONES else "v2"

    @classmethod
    def from_checkpoint(cls, config: Mapping[str, Any], weight: Weights) -> T2SConfig:
        """Sizes of a T2S checkpoint.

        config: its `config`; sections `model` and `data` are read
        weight: its `weight`, names with the prefix `model.`
        raises: ModelError where heads or end token do not fit the tensors
        """
        model, data = _section(config, "model"), _section(config, "data")
        hidden = _size(weight, _PHONES, 1, 512)
        vocabulary = _size(weight, _TOKENS, 0, 1025)
        built = cls(
            hidden=hidden,
            num_heads=_integer(model, "head", 16),
            num_layers=_layers(model, "n_layer", count_indices(weight, "model.h.layers.")),
            feed_forward=_size(weight, "model.h.layers.0.linear1.weight", 0, 4 * hidden),
            num_phones=_size(weight, _PHONES, 0, V2_PHONES),
            vocabulary=vocabulary,
            eos=_integer(model, "EOS", vocabulary - 1),
            bert_channels=_size(weight, "model.bert_proj.weight", 1, 1024),
            max_seconds=_number(data, "max_sec", 54.0),
        )
        if built.num_heads < 1 or built.hidden % built.num_heads:
            raise _misfit("model.head", built.num_heads, f"a divisor of {built.hidden}")
        if not 0 <= built.eos < vocabulary:
            raise _misfit("model.EOS", built.eos, f"0 to {vocabulary - 1}")
        return built


@dataclass(frozen=True)
class SoVITSConfig:
    """The renderer of tokens to samples (stage 2), of v1, v2, v2Pro and v2ProPlus.

    version:         one of `VERSIONS`
    num_phones:      rows of the phone table
    hidden, latent:  channels of the prior and of what the flow turns into sound
    feed_forward:    inner channels of the prior's blocks
    num_heads:       of the prior's blocks; `window` is their relative reach
    *_layers:        of the encoders of tokens, of text, and after both met
    mrte_channels:   width where tokens meet text and voice
    style_channels:  of the voice's embedding `ge` (upstream: gin)
    style_bins:      bins of the reference spectrogram the style encoder reads
    speaker_channels: of the speaker vector; 0 where the version has none
    upsample_*:      of the generator, stage by stage; `generator_channels` enter the first
    resblock_*:      kernels, and the dilations of each
    posterior_layers, flow_*: layers in each stack, couplings; constants of the format
    spectrum:        fft, hop and window length in samples at `sample_rate`
    """

    version: str = "v2"
    num_phones: int = V2_PHONES
    hidden: int = 192
    latent: int = 192
    feed_forward: int = 768
    num_heads: int = 2
    kernel: int = 3
    window: int = 4
    token_layers: int = 3
    text_layers: int = 6
    joint_layers: int = 3
    mrte_channels: int = 512
    style_channels: int = 512
    style_bins: int = 704
    style_hidden: int = 128
    speaker_channels: int = 0
    ssl_channels: int = 768
    codebook_size: int = 1024
    generator_channels: int = 512
    upsample_rates: tuple[int, ...] = (10, 8, 2, 2, 2)
    upsample_kernels: tuple[int, ...] = (16, 16, 8, 2, 2)
    resblock_kernels: tuple[int, ...] = (3, 7, 11)
    resblock_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    num_flows: int = 4
    flow_layers: int = 4
    flow_kernel: int = 5
    posterior_layers: int = 16
    sample_rate: int = 32_000
    fft_length: int = 2048
    hop_length: int = 640
    window_length: int = 2048

    @property
    def has_speaker(self) -> bool:
        """True for v2Pro and v2ProPlus, which also hear a speaker vector."""
        return self.speaker_channels > 0

    @property
    def frame_samples(self) -> int:
        """Samples of one latent frame; a token is two frames."""
        product = 1
        for rate in self.upsample_rates:
            product *= rate
        return product

    @property
    def spectrum_bins(self) -> int:
        """Bins of the whole linear spectrogram, as the posterior encoder reads it."""
        return self.fft_length // 2 + 1

    @classmethod
    def from_checkpoint(
        cls, config: Mapping[str, Any], weight: Weights, version: str
    ) -> SoVITSConfig:
        """Sizes of a SoVITS checkpoint.

        config:  its `config`; sections `model` and `data` are read
        weight:  its `weight`
        version: as `containers` detected it
        raises:  ModelError where the config contradicts the tensors
        """
        model, data = _section(config, "model"), _section(config, "data")
        hidden = _size(weight, "enc_p.ssl_proj.weight", 0, 192)
        per_head = _size(weight, "enc_p.encoder_ssl.attn_layers.0.emb_rel_k", 2, hidden // 2)
        text_layers = count_indices(weight, "enc_p.encoder_text.attn_layers.", 6)
        text_layers = _layers(model, "n_layers", text_layers)
        rates = _integers(model, "upsample_rates", cls.upsample_rates)
        kernels = _integers(model, "upsample_kernel_sizes", cls.upsample_kernels)
        built = cls(
            version=version,
            num_phones=_size(weight, "enc_p.text_embedding.weight", 0, V2_PHONES),
            hidden=hidden,
            latent=_size(weight, "enc_p.proj.weight", 0, 384) // 2,
            feed_forward=_size(weight, "enc_p.encoder_ssl.ffn_layers.0.conv_1.weight", 0, 768),
            num_heads=max(1, hidden // max(1, per_head)),
            kernel=_size(weight, "enc_p.encoder_ssl.ffn_layers.0.conv_1.weight", 2, 3),
            window=_size(weight, "enc_p.encoder_ssl.attn_layers.0.emb_rel_k", 1, 9) // 2,
            token_layers=text_layers // 2,
            text_layers=text_layers,
            joint_layers=text_layers // 2,
            mrte_channels=_size(weight, "enc_p.mrte.c_pre.weight", 0, 512),
            style_channels=_size(weight, "ref_enc.fc.fc.weight", 0, 512),
            style_bins=_size(weight, "ref_enc.spectral.0.fc.weight", 1, 704),
            style_hidden=_size(weight, "ref_enc.spectral.0.fc.weight", 0, 128),
            speaker_channels=_size(weight, "sv_emb.weight", 1, 0),
            ssl_channels=_size(weight, "ssl_proj.weight", 0, 768),
            codebook_size=_size(weight, "quantizer.vq.layers.0._codebook.embed", 0, 1024),
            generator_channels=_size(weight, "dec.conv_pre.weight", 0, 512),
            upsample_rates=rates,
            upsample_kernels=tuple(
                _size(weight, f"dec.ups.{stage}.weight_v", 2, kernel)
                for stage, kernel in enumerate(kernels)
            ),
            resblock_kernels=_integers(model, "resblock_kernel_sizes", cls.resblock_kernels),
            resblock_dilations=_dilations(model, cls.resblock_dilations),
            sample_rate=_integer(data, "sampling_rate", 32_000),
            fft_length=_integer(data, "filter_length", 2048),
            hop_length=_integer(data, "hop_length", 640),
            window_length=_integer(data, "win_length", 2048),
        )
        built._check()
        return built

    def _check(self) -> None:
        """What the config says must agree with the tensors and with itself."""
        stages = len(self.upsample_kernels)
        if len(self.upsample_rates) != stages:
            raise _misfit("model.upsample_rates", list(self.upsample_rates), f"{stages} rates")
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernels, strict=True):
            if rate < 1 or kernel < rate or (kernel - rate) % 2:
                raise _misfit("model.upsample_rates", rate, f"to fit a kernel of {kernel}")
        if self.frame_samples != self.hop_length:
            product = f"the product of upsample_rates, {self.frame_samples}"
            raise _misfit("data.hop_length", self.hop_length, product)
        if len(self.resblock_dilations) != len(self.resblock_kernels):
            raise _misfit(
                "model.resblock_dilation_sizes",
                len(self.resblock_dilations),
                f"one list for each of {len(self.resblock_kernels)} kernels",
            )
        if self.style_bins > self.spectrum_bins:
            raise _misfit("data.filter_length", self.fft_length, f"{self.style_bins} bins or more")


def _layers(section: Mapping[str, Any], name: str, counted: int) -> int:
    """The number of layers the config promises; a file with fewer is incomplete, not smaller."""
    number = _integer(section, name, counted)
    if not 0 <= number <= MAX_LAYERS:
        raise _misfit(f"model.{name}", number, f"0 to {MAX_LAYERS}")
    return number


def count_indices(weight: Weights, prefix: str, default: int = 0) -> int:
    """How many different indices follow `prefix` in the names; `default` if none does."""
    found = {name[len(prefix) :].partition(".")[0] for name in weight if name.startswith(prefix)}
    return len({index for index in found if index.isdigit()}) or default


def _size(weight: Weights, name: str, axis: int, default: int) -> int:
    """One axis of a tensor; `default` where it is missing, which the key check will report."""
    tensor = weight.get(name)
    if tensor is None or tensor.ndim <= axis:
        return default
    return int(tensor.shape[axis])


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name, {})
    if not isinstance(section, Mapping):
        raise _misfit(name, type(section).__name__, "a section of names and values")
    return section


def _integer(section: Mapping[str, Any], name: str, default: int) -> int:
    number = _number(section, name, default)
    if number != int(number):
        raise _misfit(name, number, "a whole number")
    return int(number)


def _number(section: Mapping[str, Any], name: str, default: float) -> float:
    value = section.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        raise _misfit(name, repr(value)[:80], "a number")
    return value


def _integers(section: Mapping[str, Any], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    value = section.get(name, default)
    if not isinstance(value, list | tuple) or not 0 < len(value) <= 16:
        raise _misfit(name, repr(value)[:80], "a short list of whole numbers")
    return tuple(_integer({name: item}, name, 0) for item in value)


def _dilations(
    section: Mapping[str, Any], default: tuple[tuple[int, ...], ...]
) -> tuple[tuple[int, ...], ...]:
    name = "resblock_dilation_sizes"
    value = section.get(name, default)
    if not isinstance(value, list | tuple) or not 0 < len(value) <= 16:
        raise _misfit(name, repr(value)[:80], "a list of lists of whole numbers")
    return tuple(_integers({name: item}, name, ()) for item in value)


def _misfit(name: str, seen: object, allowed: str) -> ModelError:
    return ModelError(
        f"the config of this GPT-SoVITS checkpoint has a wrong {name}",
        seen=seen,
        allowed=allowed,
        cure="export the checkpoint again, or fetch an official one with kouji pull",
    )
