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
    # Frames are centred half a hop late, as the mel's own; the padding is cut off at the end.
    lead = (config.n_fft - config.hop_length) // 2
    length = wanted.shape[-1] * config.hop_length
    generator = torch.Generator().manual_seed(0)
    angle = 2 * torch.pi * torch.rand(wanted.shape, generator=generator)
    spectrum = torch.polar(torch.ones_like(angle), angle)
    squares = window.square()[None, :, None].expand(len(wanted), -1, wanted.shape[-1])
    weight = overlap_add(squares, config.hop_length).clamp(min=1e-3)
    previous = torch.zeros_like(spectrum)
    for number in range(iterations + 1):
        framed = torch.fft.irfft(wanted * unit(spectrum), n=config.n_fft, dim=1)
        samples = overlap_add(framed * window[:, None], config.hop_length) / weight
        if number < iterations:
            rebuilt = windowed_spectrum(samples, window, config.hop_length)
            spectrum = rebuilt - _MOMENTUM / (1 + _MOMENTUM) * previous
            previous = rebuilt
    made: Tensor = samples[:, lead : lead + length]
    return made


def unit(spectrum: Tensor) -> Tensor:
    """The phase alone: complex numbers of magnitude one."""
    phase: Tensor = spectrum / spectrum.abs().clamp(min=1e-9)
    return phase


def windowed_spectrum(samples: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Spectra of all whole windows: (batch, samples) -> (batch, bins, frames) complex."""
    framed = samples.unfold(-1, len(window), hop_length) * window
    spectra: Tensor = torch.fft.rfft(framed).transpose(1, 2)
    return spectra


def overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Sum frames that are whole multiples of a hop long.

    frames:  (batch, window, frames)
    returns: (batch, (frames - 1) * hop_length + window)
    """
    pieces = torch.unflatten(frames.transpose(1, 2), 2, (-1, hop_length))
    count, per_window = pieces.shape[1], pieces.shape[2]
    out = frames.new_zeros(len(frames), count + per_window - 1, hop_length)
    for piece in range(per_window):
        out[:, piece : piece + count] += pieces[:, :, piece]
    return out.flatten(1)
