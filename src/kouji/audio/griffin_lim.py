"""Mel to samples without a network: least-squares magnitudes and Griffin-Lim phases.

The yardstick for vocoders. Phases by the fast variant (Perraudin et al. 2013).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kouji.audio.features import MelConfig, mel_filterbank

_MOMENTUM = 0.99


_FITTING_STEPS = 60


def magnitudes(log_mel: Tensor, config: MelConfig) -> Tensor:
    """Non-negative magnitudes that explain natural-log mels.

    log_mel: (batch, mels, frames); returns (batch, bins, frames)

    Multiplicative updates (Lee & Seung 2001): unlike a clamped pseudo-inverse they leave no
    holes between the bands.
    """
    bank = mel_filterbank(config, log_mel.device, torch.float32)
    mel = log_mel.float().exp()
    found = bank.T @ mel
    wanted = found.clone()
    for _ in range(_FITTING_STEPS):
        found = found * wanted / (bank.T @ (bank @ found)).clamp(min=1e-9)
    return found.clamp(min=1e-7)


def griffin_lim(log_mel: Tensor, config: MelConfig, *, iterations: int = 32) -> Tensor:
    """Samples whose mel is close to `log_mel`.

    log_mel: (batch, mels, frames) natural log of magnitudes; frames as `mel_spectrogram` cuts them
    returns: (batch, frames * hop_length)
    """
    wanted = magnitudes(log_mel, config)
    window = torch.hann_window(config.win_length)
    # Frames of the mel are centred half a hop late; padding by whole frames keeps them so.
    lead = (config.n_fft - config.hop_length) // 2
    length = wanted.shape[-1] * config.hop_length
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(wanted.shape, generator=generator)
    phase = torch.polar(torch.ones_like(angle), angle)
    previous = torch.zeros_like(phase)
    samples = _to_samples(wanted * phase, config, window)
    for _ in range(iterations):
        rebuilt = _to_spectrum(samples, config, window)
        moved = rebuilt - _MOMENTUM / (1 + _MOMENTUM) * previous
        phase = moved / moved.abs().clamp(min=1e-9)
        previous = rebuilt
        samples = _to_samples(wanted * phase, config, window)
    return samples[:, lead : lead + length]


def _to_samples(spectrum: Tensor, config: MelConfig, window: Tensor) -> Tensor:
    """Overlap-add without trimming: (batch, (frames - 1) * hop + n_fft)."""
    frames = torch.fft.irfft(spectrum, n=config.n_fft, dim=1) * window[:, None]
    size = (1, (frames.shape[-1] - 1) * config.hop_length + config.n_fft)
    shape = {"kernel_size": (1, config.n_fft), "stride": (1, config.hop_length)}
    fold = torch.nn.functional.fold
    total = fold(frames, size, **shape)[:, 0, 0]
    squares = window.square()[None, :, None].expand(1, -1, frames.shape[-1])
    weight = fold(squares, size, **shape)[:, 0, 0]
    return total / weight.clamp(min=1e-3)


def _to_spectrum(samples: Tensor, config: MelConfig, window: Tensor) -> Tensor:
    frames = samples.unfold(-1, config.n_fft, config.hop_length) * window
    return torch.fft.rfft(frames).transpose(1, 2)
