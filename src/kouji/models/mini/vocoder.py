"""The vocoder of `mini`: mel to samples by filtering a pulse train and noise.

A convolutional backbone at 50 frames/s says, four times a frame, how loud harmonics
and noise are in each band; the filters are applied to short windows of the source in
the frequency domain and overlap-added. Works on anyone's mels of the same definition:
it finds f0 in the mel by itself, unless the caller knows better.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from kouji.models.layers.shift_block import ShiftStack
from kouji.models.mini.config import FINE_CHANNELS, HOP_SAMPLES, SAMPLE_RATE, MiniConfig
from kouji.models.mini.excitation import hertz, pulse_train

SUBFRAMES = 4
SUB_HOP = HOP_SAMPLES // SUBFRAMES  # 120 samples = 5 ms
WINDOW = 4 * SUB_HOP  # 480 samples = 20 ms
FFT = 1080  # nine sub-hops: a window plus room for the filter's response
HEADROOM = SUB_HOP  # samples before the window for responses that begin early
NUM_BINS = FFT // 2 + 1
EDGE_FRAMES = 4  # frames beyond a chunk whose windows and responses reach into it


@dataclass(frozen=True)
class Pitch:
    """log_f0: (batch, frames) normalised; voicing: (batch, frames) logit."""

    log_f0: Tensor
    voicing: Tensor


@cache
def band_matrix(num_bands: int, device: torch.device) -> Tensor:
    """Linear interpolation from mel-spaced bands to FFT bins: (bands, bins) float32.

    Cached and no buffer of the model: casting a model to bf16 must not round it.
    """
    with torch.inference_mode(False):  # cached tensors must be usable by autograd later
        return _band_matrix(num_bands).to(device)


def _band_matrix(num_bands: int) -> Tensor:
    top = 1127.0 * torch.log1p(torch.tensor(SAMPLE_RATE / 2 / 700.0))
    centres = 700.0 * (torch.exp(torch.linspace(0, float(top), num_bands) / 1127.0) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, NUM_BINS)
    upper = torch.searchsorted(centres, bins).clamp(1, num_bands - 1)
    share = ((bins - centres[upper - 1]) / (centres[upper] - centres[upper - 1])).clamp(0, 1)
    matrix = torch.zeros(num_bands, NUM_BINS)
    columns = torch.arange(NUM_BINS)
    matrix[upper - 1, columns] = 1 - share
    matrix[upper, columns] = share
    return matrix


@cache
def window(device: torch.device) -> Tensor:
    """Hann window scaled so that windows at every sub-hop sum to one: (WINDOW,) float32."""
    with torch.inference_mode(False):
        return torch.hann_window(WINDOW, device=device) / 2


def minimum_phase(log_magnitude: Tensor) -> Tensor:
    """The causal filter of least delay with this magnitude, by folding the cepstrum.

    log_magnitude: (..., bins) natural log
    returns:       (..., bins) complex (Oppenheim & Schafer, homomorphic filtering)
    """
    cepstrum = torch.fft.irfft(log_magnitude, n=FFT)
    fold = torch.zeros(FFT, device=cepstrum.device)
    fold[0], fold[1 : FFT // 2], fold[FFT // 2] = 1, 2, 1
    return torch.exp(torch.fft.rfft(cepstrum * fold, n=FFT))


class PitchHead(nn.Module):
    """Reads f0 and voicing off a mel."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        width = config.pitch_width
        self.enter = nn.Linear(FINE_CHANNELS, width)
        self.stack = ShiftStack(width, 3 * width, config.pitch_dilations)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, 2)

    def forward(self, mel: Tensor, mask: Tensor) -> Pitch:
        """mel: (batch, frames, FINE_CHANNELS) normalised; mask: (batch, frames, 1)."""
        out = self.leave(self.norm(self.stack(self.enter(mel), mask))).float()
        return Pitch(out[..., 0], out[..., 1])


class Vocoder(nn.Module):
    """Mel to samples."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        self.config = config
        width = config.vocoder_width
        self.pitch_head = PitchHead(config)
        self.enter = nn.Linear(FINE_CHANNELS + 2, width)
        self.stack = ShiftStack(width, config.vocoder_hidden, config.vocoder_dilations)
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, SUBFRAMES * (config.harmonic_bands + config.noise_bands))
        nn.init.constant_(self.leave.bias, -4.0)

    def envelopes(self, mel: Tensor, mask: Tensor, pitch: Pitch) -> tuple[Tensor, Tensor]:
        """Predict log envelopes of harmonics and noise.

        mel:     (batch, frames, FINE_CHANNELS) fine mel; mask: (batch, frames, 1)
        returns: two of (batch, frames * SUBFRAMES, bins), natural log, float32
        """
        heard = torch.stack([pitch.log_f0, torch.sigmoid(pitch.voicing)], dim=-1)
        x = self.enter(torch.cat([mel, heard.to(mel.dtype)], dim=-1))
        x = self.leave(self.norm(self.stack(x, mask))).float()
        x = x.unflatten(-1, (SUBFRAMES, -1)).flatten(1, 2)
        harmonic, breath = x.split([self.config.harmonic_bands, self.config.noise_bands], dim=-1)
        bands = self.config
        return (
            harmonic @ band_matrix(bands.harmonic_bands, x.device),
            breath @ band_matrix(bands.noise_bands, x.device),
        )

    def filter_source(
        self, pulses: Tensor, hiss: Tensor, harmonic: Tensor, breath: Tensor, mask: Tensor
    ) -> Tensor:
        """Shape the source by the envelopes, window by window.

        pulses, hiss:     (batch, samples)
        harmonic, breath: (batch, sub-frames, bins) natural-log magnitudes
        mask:             (batch, frames, 1), windows of padded frames are left out
        returns:          (batch, samples)
        """
        num_samples, num_windows = pulses.shape[1], harmonic.shape[1]
        lead = (WINDOW - SUB_HOP) // 2  # centres a window on its sub-frame
        padded = nn.functional.pad(torch.stack([pulses, hiss]), (lead, lead))
        windows = padded.unfold(-1, WINDOW, SUB_HOP) * window(padded.device)
        windows = nn.functional.pad(windows, (HEADROOM, FFT - WINDOW - HEADROOM))
        source = torch.fft.rfft(windows)  # (2, batch, windows, bins)
        spectrum = source[0] * minimum_phase(harmonic) + source[1] * torch.exp(breath)
        spectrum = spectrum * mask.float().repeat_interleave(SUBFRAMES, dim=1)
        shaped = torch.fft.irfft(spectrum, n=FFT).unflatten(-1, (-1, SUB_HOP))
        pieces = shaped.shape[2]
        out = shaped.new_zeros(len(pulses), num_windows + pieces - 1, SUB_HOP)
        for piece in range(pieces):  # overlap-add by whole sub-hops
            out[:, piece : piece + num_windows] += shaped[:, :, piece]
        start = HEADROOM + lead
        samples: Tensor = out.flatten(1)[:, start : start + num_samples]
        return samples

    def forward(
        self, mel: Tensor, mask: Tensor, pulses: Tensor, hiss: Tensor, pitch: Pitch
    ) -> Tensor:
        """Render samples.

        mel:    (batch, frames, FINE_CHANNELS) normalised fine mel, zero where masked
        mask:   (batch, frames, 1)
        pulses: (batch, frames * HOP_SAMPLES) as `source_pulses` makes them
        hiss:   (batch, frames * HOP_SAMPLES) unit white noise
        pitch:  what the pulses follow
        returns: (batch, frames * HOP_SAMPLES)
        """
        harmonic, breath = self.envelopes(mel, mask, pitch)
        return self.filter_source(pulses, hiss, harmonic, breath, mask)


def source_pulses(pitch: Pitch) -> Tensor:
    """Pulses that follow `pitch`: (batch, frames * HOP_SAMPLES)."""
    return pulse_train(hertz(pitch.log_f0), torch.sigmoid(pitch.voicing))
