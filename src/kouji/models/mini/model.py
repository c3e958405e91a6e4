"""The acoustic model of `mini`: phones and a speaker to f0 and mel.

Text encoder -> duration, pitch and energy of each phone (by regression, or drawn by
`prosody.ProsodyModel`) -> f0 of each frame -> decoder, in the manner of FastSpeech 2 (Ren et
al. 2021) with convolutions only: every mel frame sees a fixed number of phones and frames,
which is what makes streaming exact. f0 comes before the mel, not after: it is cheap enough to
be computed whole and alone for every request, so the vocoder's phase never depends on chunks
or on who shares the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kouji.models.layers.shift_block import Offsets, ShiftStack
from kouji.models.mini.config import FINE_CHANNELS, MiniConfig
from kouji.models.mini.prosody import ProsodyModel
from kouji.models.mini.speaker import SpeakerEncoder
from kouji.text.phones import NUM_TONES, SYMBOLS

NUM_PROSODY = 3  # pitch, voicing, energy of a phone


@dataclass(frozen=True)
class PhoneProsody:
    """What the variance predictors say of each phone.

    log_duration: (batch, phones) natural log of 1 + frames
    prosody:      (batch, phones, 3) normalised log-f0, voicing logit, normalised energy
    """

    log_duration: Tensor
    prosody: Tensor


@dataclass(frozen=True)
class FramePitch:
    """What the pitch stack says of each frame.

    log_f0:  (batch, frames) normalised log-f0, meaningful where voiced
    voicing: (batch, frames) logit that the frame is voiced
    """

    log_f0: Tensor
    voicing: Tensor


class AcousticModel(nn.Module):
    """Phones to frames, in a voice."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        width, speaker = config.width, config.speaker_channels
        self.config = config
        self.speaker_encoder = SpeakerEncoder(config)
        self.symbol_embedding = nn.Embedding(len(SYMBOLS), width)
        self.tone_embedding = nn.Embedding(NUM_TONES, width)
        self.encoder = ShiftStack(width, config.hidden, config.encoder_dilations, condition=speaker)
        if config.prosody_width:
            self.prosody = ProsodyModel(config)
        else:
            self.variance = ShiftStack(
                width, config.hidden, config.variance_dilations, condition=speaker
            )
            self.variance_norm = nn.LayerNorm(width)
            self.predict = nn.Linear(width, 1 + NUM_PROSODY)
        self.place_prosody = nn.Linear(NUM_PROSODY, width)
        self.place_position = nn.Linear(4, width)
        self.pitch_enter = nn.Linear(width, config.pitch_width)
        self.pitch = ShiftStack(
            config.pitch_width,
            3 * config.pitch_width,
            config.frame_pitch_dilations,
            condition=speaker,
        )
        self.pitch_norm = nn.LayerNorm(config.pitch_width)
        self.pitch_leave = nn.Linear(config.pitch_width, 2)
        self.place_pitch = nn.Linear(2, width)
        self.place_bandwidth = nn.Linear(1, speaker)
        self.decoder = ShiftStack(width, config.hidden, config.decoder_dilations, condition=speaker)
        self.decoder_norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, FINE_CHANNELS)
        self.reach = self.decoder.reach

    def encode(self, symbols: Tensor, tones: Tensor, mask: Tensor, speaker: Tensor) -> Tensor:
        """Encode phones in context.

        symbols, tones: (batch, phones) int64 ids, zero-padded
        mask:           (batch, phones, 1)
        speaker:        (batch, channels)
        returns:        (batch, phones, width)
        """
        x = self.symbol_embedding(symbols) + self.tone_embedding(tones)
        encoded: Tensor = self.encoder(x, mask, speaker[:, None])
        return encoded

    def predict_prosody(self, encoded: Tensor, mask: Tensor, speaker: Tensor) -> PhoneProsody:
        """The mean duration, pitch, voicing and energy of each phone; shapes as `encode`.

        Only models without `prosody_width` have this part.
        """
        x = self.variance_norm(self.variance(encoded, mask, speaker[:, None]))
        out = self.predict(x).float()
        return PhoneProsody(out[..., 0], out[..., 1:])

    def draw_prosody(
        self,
        symbols: Tensor,
        tones: Tensor,
        edges: Tensor,
        mask: Tensor,
        speaker: Tensor,
        noise: Tensor,
    ) -> PhoneProsody:
        """Draw duration, pitch, voicing and energy of each phone; see `ProsodyModel.draw`.

        Only models with `prosody_width` have this part.
        """
        drawn = self.prosody.draw(symbols, tones, edges, mask, speaker, noise)
        voicing = torch.logit(drawn[..., 2], eps=1e-4)
        prosody = torch.stack([drawn[..., 1], voicing, drawn[..., 3]], dim=-1)
        return PhoneProsody(drawn[..., 0], prosody)

    def expand(
        self, encoded: Tensor, prosody: Tensor, durations: Tensor, num_frames: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Lay phones out over frames.

        encoded:   (batch, phones, width)
        prosody:   (batch, phones, 3) normalised log-f0, voicing in [0, 1], normalised energy
        durations: (batch, phones) int64 frames
        returns:   (batch, frames, width) input of the decoder, (batch, frames, 1) mask,
                   (batch, frames) log-f0 of each frame's phone
        """
        placed = encoded + self.place_prosody(prosody.to(encoded.dtype))
        ends = durations.cumsum(dim=1)  # (batch, phones)
        clock = torch.arange(num_frames, device=ends.device)
        index = torch.searchsorted(ends, clock.expand(len(ends), -1).contiguous(), right=True)
        is_valid = clock[None] < ends[:, -1:]
        index = index.clamp(max=durations.shape[1] - 1)
        length = durations.gather(1, index).clamp(min=1).float()
        start = ends.gather(1, index).float() - length
        passed = (clock[None].float() + 0.5 - start) / length
        position = torch.stack(
            [passed, 1 - passed, length.log() / 3, torch.sin(passed * torch.pi)], dim=-1
        )
        mask = is_valid[..., None].to(encoded.dtype)
        x = placed.gather(1, index[..., None].expand(-1, -1, placed.shape[-1]))
        x = (x + self.place_position(position.to(encoded.dtype))) * mask
        base = prosody[..., 0].gather(1, index) * is_valid
        return x, mask, base

    def frame_pitch(self, x: Tensor, mask: Tensor, base: Tensor, speaker: Tensor) -> FramePitch:
        """Predict f0 and voicing of each frame; x, mask and base as `expand` returns them."""
        y = self.pitch(self.pitch_enter(x) * mask, mask, speaker[:, None])
        out = self.pitch_leave(self.pitch_norm(y)).float()
        return FramePitch(base.float() + out[..., 0], out[..., 1])

    def decode(
        self,
        x: Tensor,
        mask: Tensor,
        log_f0: Tensor,
        voicing: Tensor,
        speaker: Tensor,
        full_band: Tensor,
        offsets: Sequence[Offsets] = (),
    ) -> Tensor:
        """Render mel frames that follow the given pitch.

        x, mask:         as `expand` returns them
        log_f0, voicing: (batch, frames) normalised log-f0, and voicing in [0, 1]
        speaker:         (batch, channels)
        full_band:       (batch,) one where content up to 12 kHz is wanted, else zero
        offsets:         of adapted voices, one a block of the decoder
        returns:         (batch, frames, FINE_CHANNELS) normalised fine mel, float32
        """
        condition = speaker + self.place_bandwidth(full_band[:, None].to(speaker.dtype))
        heard = torch.stack([log_f0 * voicing, voicing], dim=-1).to(x.dtype)
        x = (x + self.place_pitch(heard)) * mask
        x = self.decoder_norm(self.decoder(x, mask, condition[:, None], offsets))
        mel: Tensor = self.leave(x).float()
        return mel
