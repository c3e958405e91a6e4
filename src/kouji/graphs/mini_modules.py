"""The stages of `mini` as graphs: its own networks, with what surrounds them said in operators.

Each takes padded rows with a mask and gives what the row alone would give. No loops over phones,
no complex numbers and no seeds are inside: noise comes from outside, as an input.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from kouji.graphs.fourier import analysis_filters, synthesis_filters
from kouji.graphs.mark import Mark
from kouji.models.mini.config import HOP_SAMPLES, SAMPLE_RATE
from kouji.models.mini.excitation import hertz, pulse_train
from kouji.models.mini.fine_mel import join_bands
from kouji.models.mini.model import AcousticModel, PhoneProsody
from kouji.models.mini.plan import MAX_PHONE_FRAMES
from kouji.models.mini.synthesis import CROSSOVER_BAND, FADE_SAMPLES
from kouji.models.mini.vocoder import (
    FFT,
    HEADROOM,
    NUM_BINS,
    SUB_HOP,
    SUBFRAMES,
    WINDOW,
    Pitch,
    Vocoder,
    minimum_phase,
    window,
)

_ENCODER = ("symbol_embedding", "tone_embedding", "encoder")


class SpeakerGraph(nn.Module):
    """Reference mel to speaker embedding."""

    def __init__(self, acoustic: AcousticModel) -> None:
        super().__init__()
        self.encoder = acoustic.speaker_encoder

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """mel: (batch, frames, mels), mask: (batch, frames); returns (batch, channels)."""
        speaker: Tensor = self.encoder(mel, mask[..., None])
        return speaker


class ProsodyGraph(nn.Module):
    """Phones and a speaker to wished durations, pitch, voicing and energy, drawn by noise."""

    def __init__(self, acoustic: AcousticModel, pace: float) -> None:
        super().__init__()
        self.acoustic, self.pace = _part(acoustic, "prosody"), pace

    def forward(
        self,
        symbols: Tensor,
        tones: Tensor,
        mask: Tensor,
        speaker: Tensor,
        edges: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Shapes as `AcousticModel.draw_prosody`; mask: (batch, phones).

        returns: (batch, phones) frames before rounding, and (batch, phones, 3) normalised log-f0,
                 voicing in [0, 1], normalised energy
        """
        mask = mask[..., None]
        said = self.acoustic.draw_prosody(symbols, tones, edges, mask, speaker, noise)
        return _wishes(said, mask, self.pace)


class MeanProsodyGraph(nn.Module):
    """The same of a model that does not draw: it says the mean of all readings."""

    def __init__(self, acoustic: AcousticModel, pace: float) -> None:
        super().__init__()
        names = (*_ENCODER, "variance", "variance_norm", "predict")
        self.acoustic, self.pace = _part(acoustic, *names), pace

    def forward(
        self, symbols: Tensor, tones: Tensor, mask: Tensor, speaker: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `ProsodyGraph.forward`, without what decides a reading."""
        mask = mask[..., None]
        encoded = self.acoustic.encode(symbols, tones, mask, speaker)
        return _wishes(self.acoustic.predict_prosody(encoded, mask, speaker), mask, self.pace)


def _wishes(said: PhoneProsody, mask: Tensor, pace: float) -> tuple[Tensor, Tensor]:
    frames = said.log_duration.expm1().clamp(0.0, float(MAX_PHONE_FRAMES)) * pace
    pitch, voicing, energy = said.prosody.unbind(-1)
    return frames * mask[..., 0], torch.stack([pitch, voicing.sigmoid(), energy], dim=-1) * mask


def _part(network: AcousticModel, *names: str) -> AcousticModel:
    """The same network with only these of its children: a file holds all that its graph has."""
    part = copy.copy(network)
    part._modules = {name: network._modules[name] for name in names}
    return part


class PlanGraph(nn.Module):
    """Phones with whole durations to frames: decoder input and pitch."""

    def __init__(self, acoustic: AcousticModel) -> None:
        super().__init__()
        names = ("place_prosody", "place_position", "pitch_enter", "pitch", "pitch_norm")
        self.acoustic = _part(acoustic, *_ENCODER, *names, "pitch_leave")

    def forward(
        self,
        symbols: Tensor,
        tones: Tensor,
        mask: Tensor,
        speaker: Tensor,
        prosody: Tensor,
        durations: Tensor,
        phone_of_frame: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """`AcousticModel.expand` and `frame_pitch` for frames whose phones are known.

        prosody:        (batch, phones, 3) as `ProsodyGraph` gives it
        durations:      (batch, phones) int64 frames
        phone_of_frame: (batch, frames) int64, each phone as often as it has frames, then any
        returns:        (batch, frames, width), (batch, frames) mask, log-f0 and voicing logit
        """
        acoustic = self.acoustic
        encoded = acoustic.encode(symbols, tones, mask[..., None], speaker)
        placed = encoded + acoustic.place_prosody(prosody)
        ends = durations.cumsum(dim=1)
        clock = torch.arange(phone_of_frame.shape[1], device=ends.device)[None]
        is_valid = clock < ends[:, -1:]
        length = durations.gather(1, phone_of_frame).clamp(min=1).float()
        start = ends.gather(1, phone_of_frame).float() - length
        passed = (clock.float() + 0.5 - start) / length
        position = torch.stack(
            [passed, 1 - passed, length.log() / 3, torch.sin(passed * torch.pi)], dim=-1
        )
        frame_mask = is_valid.float()[..., None]
        index = phone_of_frame[..., None].expand(-1, -1, placed.shape[-1])
        x = (placed.gather(1, index) + acoustic.place_position(position)) * frame_mask
        base = prosody[..., 0].gather(1, phone_of_frame) * frame_mask[..., 0]
        pitch = acoustic.frame_pitch(x, frame_mask, base, speaker)
        frame_mask = frame_mask[..., 0]
        log_f0 = pitch.log_f0.clamp(-4.0, 4.0)
        return x, frame_mask, log_f0 * frame_mask, pitch.voicing * frame_mask


class DecodeGraph(nn.Module):
    """Frames to fine mel, in two passes as `Networks.decode` does it."""

    def __init__(self, acoustic: AcousticModel) -> None:
        super().__init__()
        names = ("place_pitch", "place_bandwidth", "decoder", "decoder_norm", "leave")
        self.acoustic = _part(acoustic, *names)

    def forward(
        self, x: Tensor, frame_mask: Tensor, log_f0: Tensor, voicing: Tensor, speaker: Tensor
    ) -> Tensor:
        """Inputs as `PlanGraph` gives them; returns (batch, frames, FINE_CHANNELS) fine mel."""
        heard = torch.sigmoid(voicing) * frame_mask
        narrow = speaker.new_zeros(speaker.shape[0])
        mel = self.acoustic.decode(
            _twice(x),
            _twice(frame_mask[..., None]),
            _twice(log_f0),
            _twice(heard),
            _twice(speaker),
            torch.cat([narrow, narrow + 1]),
        )
        joined = join_bands(mel[: x.shape[0]], mel[x.shape[0] :], CROSSOVER_BAND)
        return joined * frame_mask[..., None]


class VocodeGraph(nn.Module):
    """Fine mel and pitch to samples that carry the watermark."""

    def __init__(self, vocoder: Vocoder, payload: int) -> None:
        """payload: the number in the watermark of everything this graph says."""
        super().__init__()
        self.vocoder, self.mark = vocoder, Mark(SAMPLE_RATE, payload)
        shape = window(torch.device("cpu"))
        constants = {
            "analysis": analysis_filters(shape, FFT, start=HEADROOM),
            "synthesis": synthesis_filters(torch.ones(FFT)),
            # The phase of a filter of least delay is linear in its log magnitudes.
            "phase": minimum_phase(torch.eye(NUM_BINS).double()).angle().float(),
        }
        for name, value in constants.items():
            self.register_buffer(name, value.contiguous())

    def forward(
        self, fine_mel: Tensor, frame_mask: Tensor, log_f0: Tensor, voicing: Tensor, noise: Tensor
    ) -> Tensor:
        """fine_mel as `DecodeGraph` gives it; noise: (batch, frames, 480) of unit variance.

        returns: (batch, samples), zero but for the fading mark where masked
        """
        # A row alone ends on its last frame, so that one is held where padding follows.
        clock = torch.arange(frame_mask.shape[1], device=fine_mel.device)[None]
        last = frame_mask.sum(dim=1, keepdim=True).long() - 1
        held = torch.minimum(clock, last).clamp(min=0)
        pulses = pulse_train(hertz(log_f0.gather(1, held)), torch.sigmoid(voicing.gather(1, held)))
        envelopes = self.vocoder.envelopes(fine_mel, frame_mask[..., None], Pitch(log_f0, voicing))
        is_valid = frame_mask.repeat_interleave(HOP_SAMPLES, dim=1)
        hiss = noise.flatten(1) * is_valid
        raw = self._filter(pulses * is_valid, hiss, *envelopes, frame_mask)
        marked: Tensor = self.mark(raw * _fade(last[:, 0] + 1, raw.shape[1]))
        return marked

    def _filter(
        self, pulses: Tensor, hiss: Tensor, harmonic: Tensor, breath: Tensor, frame_mask: Tensor
    ) -> Tensor:
        """`Vocoder.filter_source` without complex numbers."""
        lead = (WINDOW - SUB_HOP) // 2
        voiced, unvoiced = (
            nn.functional.conv1d(
                nn.functional.pad(source[:, None], (lead, lead)),
                self.get_buffer("analysis"),
                stride=SUB_HOP,
            ).transpose(1, 2)
            for source in (pulses, hiss)
        )  # (batch, windows, 2 * bins)
        real, imaginary = voiced.chunk(2, dim=-1)
        loudness, phase = harmonic.exp(), harmonic @ self.get_buffer("phase")
        cosine, sine = loudness * phase.cos(), loudness * phase.sin()
        shaped = torch.cat([real * cosine - imaginary * sine, real * sine + imaginary * cosine], -1)
        shaped = shaped + unvoiced * torch.cat([breath, breath], dim=-1).exp()
        shaped = shaped * frame_mask.repeat_interleave(SUBFRAMES, dim=1)[..., None]
        out = nn.functional.conv_transpose1d(
            shaped.transpose(1, 2), self.get_buffer("synthesis"), stride=SUB_HOP
        )
        start = HEADROOM + lead
        return out[:, 0, start : start + pulses.shape[1]]


def _twice(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows])


def _fade(num_frames: Tensor, num_samples: int) -> Tensor:
    """(batch, samples): 5 ms up, one, 5 ms down at the end of each row, then zero."""
    clock = torch.arange(num_samples, device=num_frames.device)[None]
    left = num_frames[:, None] * HOP_SAMPLES - 1 - clock
    return (torch.minimum(clock, left).float() / (FADE_SAMPLES - 1)).clamp(0.0, 1.0)
