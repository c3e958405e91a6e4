"""Makes a vocoder's samples agree with the mel they were made from.

The network gives harmonics, noise and a coherent phase; its spectrum is fitted to the mel
by a few multiplicative updates (Lee & Seung 2001) and made consistent by a few rounds of
Griffin-Lim (Perraudin et al. 2013) that start from the network's phase. Every round sees
four frames to each side, so chunks with enough context equal the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kouji.audio.features import MINI_MEL, mel_filterbank
from kouji.audio.griffin_lim import overlap_add, unit, windowed_spectrum
from kouji.models.mini.config import HOP_SAMPLES, MEL_MEAN, MEL_STD

ROUNDS = 6
_FIT_STEPS = 10
_MOMENTUM = 0.5
_WINDOW = MINI_MEL.n_fft
_LEAD = (_WINDOW - HOP_SAMPLES) // 2
REACH_FRAMES = (ROUNDS + 2) * (_WINDOW // HOP_SAMPLES)


def refine(samples: Tensor, mel: Tensor, mask: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Fit samples to a mel.

    samples: (batch, frames * HOP_SAMPLES) float32
    mel:     (batch, frames, mels) normalised log-mel
    mask:    (batch, frames, 1) one for valid frames
    returns: (batch, frames * HOP_SAMPLES), zero where masked
    """
    is_valid = mask.float().transpose(1, 2)  # (batch, 1, frames)
    sounding = is_valid.repeat_interleave(HOP_SAMPLES, dim=2)[:, 0]
    wanted = torch.exp(mel.float() * MEL_STD + MEL_MEAN).transpose(1, 2)
    window = torch.hann_window(_WINDOW, device=samples.device)
    weight = overlap_add(window.square()[:, None] * is_valid, HOP_SAMPLES).clamp(min=1e-3)
    spectrum = _spectrum(samples * sounding, window)
    target = _fit(spectrum.abs(), wanted) * is_valid
    previous = torch.zeros_like(spectrum)
    for number in range(rounds + 1):
        framed = torch.fft.irfft(target * unit(spectrum), n=_WINDOW, dim=1)
        made = overlap_add(framed * window[:, None], HOP_SAMPLES) / weight
        made = made[:, _LEAD : _LEAD + samples.shape[1]] * sounding
        if number < rounds:
            rebuilt = _spectrum(made, window)
            spectrum = rebuilt - _MOMENTUM * previous
            previous = rebuilt
    return made


def _fit(magnitude: Tensor, wanted: Tensor) -> Tensor:
    """Magnitudes near the given ones whose mel is the wanted one: (batch, bins, frames)."""
    bank = mel_filterbank(MINI_MEL, magnitude.device, torch.float32)
    found = magnitude.clamp(min=1e-6)
    goal = bank.T @ wanted
    for _ in range(_FIT_STEPS):
        found = found * goal / (bank.T @ (bank @ found)).clamp(min=1e-9)
    return found


def _spectrum(samples: Tensor, window: Tensor) -> Tensor:
    """(batch, bins, frames); frame t is centred on the middle of hop t, as in the mel."""
    padded = torch.nn.functional.pad(samples, (_LEAD, _LEAD))
    return windowed_spectrum(padded, window, HOP_SAMPLES)
