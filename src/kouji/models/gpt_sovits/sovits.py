"""The renderer's networks of v1, v2, v2Pro and v2ProPlus: tokens, phones and voice to samples.

`SoVITS` joins quantizer, style encoder, prior, flow and generator and gives the official numbers:
whole (`decode`) and in the official way of streaming (`decode_streaming`). Batches are padded;
a row of a batch equals the row alone. Knows nothing of requests: that is `renderer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kouji.errors import ModelError
from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.gpt_sovits.containers import tell_version
from kouji.models.gpt_sovits.flow import Flow
from kouji.models.gpt_sovits.generator import Generator
from kouji.models.gpt_sovits.prior import Prior
from kouji.models.gpt_sovits.quantizer import FRAMES_PER_TOKEN, Quantizer
from kouji.models.gpt_sovits.sovits_state import fold_weight_norm, own_state
from kouji.models.gpt_sovits.style_encoder import SpeakerJoin, StyleEncoder

NOISE_SCALE = 0.5  # of the official pipeline


class StreamedChunk(NamedTuple):
    """A step of official streaming: samples (batch, samples), latent (batch, frames, channels)."""

    samples: Tensor
    latent: Tensor


class SoVITS(nn.Module):
    """All networks of one checkpoint; `config` has the sizes."""

    def __init__(self, config: SoVITSConfig) -> None:
        super().__init__()
        self.config = config
        self.quantizer = Quantizer(config)
        self.ref_enc = StyleEncoder(config)
        self.speaker = SpeakerJoin(config) if config.has_speaker else None
        self.enc_p = Prior(config)
        self.flow = Flow(config)
        self.dec = Generator(config)

    @classmethod
    def from_state(
        cls, weights: Mapping[str, Tensor], config: Mapping[str, Any] | SoVITSConfig
    ) -> SoVITS:
        """Build the networks of a checkpoint, in float32 and evaluation mode.

        weights: official names; weight norm (`weight_g`, `weight_v`) is folded here
        config:  the checkpoint's `config`, or its sizes where they are known already
        raises:  ModelError naming missing and unknown tensors and wrong shapes
        """
        if isinstance(config, Mapping):
            config = SoVITSConfig.from_checkpoint(config, weights, tell_version(weights))
        with torch.device("meta"):
            networks = cls(config)
        networks.load_state_dict(
            own_state(networks, config, fold_weight_norm(weights)), assign=True
        )
        return networks.eval().requires_grad_(False)

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return sum(value.numel() * value.element_size() for value in self.parameters())

    def style(self, spectrogram: Tensor, speaker_vector: Tensor | None = None) -> Tensor:
        """The global embedding of one reference.

        spectrogram:    (bins, frames) or (batch, bins, frames) linear magnitudes
        speaker_vector: (speaker channels,) or (batch, ...); exactly where the version hears one
        returns:        (channels,) or (batch, channels) float32; average several references
        """
        is_single = spectrogram.ndim == 2
        heard = spectrogram[None] if is_single else spectrogram
        if (speaker_vector is None) == self.config.has_speaker:
            raise ModelError(
                f"{self.config.version} {'needs a' if self.config.has_speaker else 'has no'} "
                "speaker vector",
                seen="none" if speaker_vector is None else "one",
                cure="encode the voice with these weights again",
            )
        if heard.shape[1] < self.config.style_bins or not heard.shape[2]:
            raise ModelError(
                "a reference spectrogram does not fit the style encoder",
                seen=tuple(spectrogram.shape),
                allowed=f"({self.config.style_bins} bins or more, 1 frame or more)",
            )
        style: Tensor = self.ref_enc(heard.to(self.ref_enc.fc.fc.weight.dtype))
        if self.speaker is not None and speaker_vector is not None:
            speaker = speaker_vector[None] if is_single else speaker_vector
            style = self.speaker(style, speaker.to(style.dtype))
        return style[0] if is_single else style

    def extract_codes(self, features: Tensor) -> Tensor:
        """(batch, channels, frames at 50 Hz) of HuBERT -> (batch, frames // 2) int64 tokens."""
        return self.quantizer.encode(features)

    def encode(
        self,
        codes: Tensor,
        phones: Tensor,
        style: Tensor,
        num_codes: Tensor | None = None,
        num_phones: Tensor | None = None,
    ) -> Tensor:
        """The prior before its last projection.

        codes, phones: (batch, tokens), (batch, phones) int64, anything valid as padding
        style:         (batch, channels)
        num_codes, num_phones: (batch,) where rows differ
        returns:       (batch, 2 * tokens, hidden)
        """
        dtype = self.enc_p.ssl_proj.weight.dtype
        text_style = style if self.speaker is None else self.speaker.for_text(style)
        num_frames = codes.shape[1] * FRAMES_PER_TOKEN
        met: Tensor = self.enc_p(
            self.quantizer.decode(codes).to(dtype),
            phones,
            text_style.to(dtype),
            mask_of(None if num_codes is None else num_codes * FRAMES_PER_TOKEN, num_frames),
            mask_of(num_phones, phones.shape[1]),
        )
        return met

    def sample_latents(
        self,
        met: Tensor,
        style: Tensor,
        lengths: Tensor | None = None,
        noise: Tensor | None = None,
        noise_scale: float = NOISE_SCALE,
    ) -> Tensor:
        """Draw from the prior and turn it back through the flow.

        met:     (batch, frames, hidden) of `encode`, at the wanted speed
        noise:   (batch, frames, latent) standard normal; None: the mean
        returns: (batch, frames, latent) float32
        """
        mean, log_deviation = self.enc_p.project(met)
        if noise is not None and noise_scale:
            mean = mean + noise * log_deviation.exp() * noise_scale
        dtype = met.dtype
        mask = mask_of(lengths, met.shape[1])
        latents: Tensor = self.flow.reverse(mean.to(dtype), style.to(dtype), mask)
        return latents.float()

    @torch.inference_mode()
    def decode(
        self,
        codes: Tensor,
        phones: Tensor,
        style: Tensor,
        *,
        num_codes: Tensor | None = None,
        num_phones: Tensor | None = None,
        noise: Tensor | None = None,
        noise_scale: float = NOISE_SCALE,
        speed: float = 1.0,
    ) -> list[Tensor]:
        """Whole utterances with the official numbers.

        codes, phones, style, num_codes, num_phones: as for `encode`; phones of the target only
        noise:   (batch, frames, latent), see `frames_at`; None speaks the mean
        returns: (samples,) float32 of each row
        """
        met = self.encode(codes, phones, style, num_codes, num_phones)
        lengths = None if num_codes is None else num_codes * FRAMES_PER_TOKEN
        met, lengths = change_speed(met, lengths, speed)
        latents = self.sample_latents(met, style, lengths, noise, noise_scale)
        samples = self.dec(latents, style, lengths)
        rows = range(len(codes))
        ends = [latents.shape[1]] * len(codes) if lengths is None else lengths.tolist()
        return [samples[row, : ends[row] * self.config.frame_samples] for row in rows]

    @torch.inference_mode()
    def decode_streaming(
        self,
        codes: Tensor,
        phones: Tensor,
        style: Tensor,
        *,
        result_length: int | None = None,
        overlap: Tensor | None = None,
        noise: Tensor | None = None,
        noise_scale: float = NOISE_SCALE,
        speed: float = 1.0,
    ) -> StreamedChunk:
        """One step of the official way of streaming: all tokens so far, samples of the last ones.

        result_length: tokens to render, from the end; None: all
        overlap:       (batch, frames, latent) last latent frames of the step before, faded with
                       the first of this one by the two halves of a sine, which do not sum to one
        noise:         (batch, frames, latent) of the frames that are rendered
        """
        met = self.encode(codes, phones, style)
        if result_length is not None:
            met = met[:, -FRAMES_PER_TOKEN * result_length :]
        if overlap is not None:
            met = _fade_in(met, overlap.to(met.dtype))
        latent = met
        met, _ = change_speed(met, None, speed)
        latents = self.sample_latents(met, style, None, noise, noise_scale)
        return StreamedChunk(self.dec(latents, style), latent)


def _fade_in(met: Tensor, before: Tensor) -> Tensor:
    shared = before.shape[1]
    window = torch.sin(torch.arange(2 * shared, device=met.device) * torch.pi / (2 * shared))
    window = window.to(met.dtype)[:, None]
    mixed = met[:, :shared] * window[:shared] + before * window[shared:]
    return torch.cat([mixed, met[:, shared:]], dim=1)


def frames_at(num_frames: int, speed: float) -> int:
    """Latent frames of an utterance at `speed`; the one too many is the official network's."""
    return num_frames if speed == 1 else int(num_frames / speed) + 1


def change_speed(met: Tensor, lengths: Tensor | None, speed: float) -> tuple[Tensor, Tensor | None]:
    """Stretch each row linearly to `frames_at` its length.

    met:     (batch, frames, hidden); lengths: (batch,)
    returns: the same two, at the new lengths; zero after a row's end
    """
    if speed == 1:
        return met, lengths
    own = [met.shape[1]] * len(met) if lengths is None else lengths.tolist()
    targets = [frames_at(length, speed) for length in own]
    rows = [
        stretch(row[:length], target, length / target)
        for row, length, target in zip(met, own, targets, strict=True)
    ]
    stretched = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    return stretched, None if lengths is None else lengths.new_tensor(targets)


def stretch(met: Tensor, num_frames: int, ratio: float) -> Tensor:
    """Read a sequence at another rate, linearly between frame centres.

    met:     (frames, hidden)
    ratio:   frames of `met` per frame of the result
    returns: (num_frames, hidden), constant beyond the outer centres
    """
    frames = torch.arange(num_frames, dtype=torch.float32, device=met.device)
    where = (torch.tensor(ratio, dtype=torch.float32) * (frames + 0.5) - 0.5).clamp(min=0)
    left = where.long().clamp(max=len(met) - 1)
    right = (left + 1).clamp(max=len(met) - 1)
    share = (where - left).clamp(max=1)[:, None].to(met.dtype)
    return met[left] * (1 - share) + met[right] * share


def mask_of(lengths: Tensor | None, num_frames: int) -> Tensor | None:
    """(batch, frames, 1), true below `lengths`; None for None."""
    if lengths is None:
        return None
    return (torch.arange(num_frames, device=lengths.device) < lengths[:, None])[..., None]
