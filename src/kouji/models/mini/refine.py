"""Makes a vocoder's samples agree with the mel they were made from.

The network gives harmonics, noise and a coherent phase. Its noise is drawn, so the mean power of
several draws says more of the wanted spectrum than one; that is fitted to the mel by a few
multiplicative updates (Lee & Seung 2001) and made consistent by a few rounds of
Griffin-Lim (Perraudin et al. 2013) that start from the network's phase. Every round sees
two frames to each side, so chunks with enough context equal the whole.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kouji.audio.features import MINI_FINE_MEL, mel_filterbank
from kouji.audio.griffin_lim import overlap_add, unit, windowed_spectrum
from kouji.models.mini.config import FINE_PER_FRAME, HOP_SAMPLES
from kouji.models.mini.fine_mel import log_magnitudes

ROUNDS = 24
_FIT_STEPS = 10
# How much of the network's contrast between neighbouring bins is believed; the level is the mel's.
# Where harmonics end and noise begins it is often wrong (docs/experiments.md).
_CONTRAST = 0.6
_MOMENTUM = 0.5
_WINDOW, _HOP = MINI_FINE_MEL.n_fft, MINI_FINE_MEL.hop_length
_LEAD = (_WINDOW - _HOP) // 2
REACH_FRAMES = (ROUNDS + 2) * (_WINDOW // HOP_SAMPLES)


def refine(draws: Tensor, mel: Tensor, mask: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Fit samples to a mel.

    draws:   (batch, draws, frames * HOP_SAMPLES) float32, the same sound with other noise: all say
             how loud it is, the first one lends its phases
    mel:     (batch, frames, FINE_CHANNELS) normalised fine mel
    mask:    (batch, frames, 1) one for valid frames
    returns: (batch, frames * HOP_SAMPLES), zero where masked
    """
    is_valid = mask.float().repeat_interleave(FINE_PER_FRAME, dim=1).transpose(1, 2)
    sounding = is_valid.repeat_interleave(_HOP, dim=2)[:, 0]
    wanted = log_magnitudes(mel).exp()
    window = torch.hann_window(_WINDOW, device=draws.device)
    weight = overlap_add(window.square()[:, None] * is_valid, _HOP).clamp(min=1e-3)
    spectra = [_spectrum(draw * sounding, window) for draw in draws.unbind(1)]
    power = torch.stack([spectrum.abs().square() for spectrum in spectra]).mean(dim=0)
    target = _fit((power + 1e-12) ** (_CONTRAST / 2), wanted) * is_valid
    spectrum = spectra[0]
    previous = torch.zeros_like(spectrum)
    for number in range(rounds + 1):
        framed = torch.fft.irfft(target * unit(spectrum), n=_WINDOW, dim=1)
        made = overlap_add(framed * window[:, None], _HOP) / weight
        made = made[:, _LEAD : _LEAD + draws.shape[2]] * sounding
        if number < rounds:
            rebuilt = _spectrum(made, window)
            spectrum = rebuilt - _MOMENTUM * previous
            previous = rebuilt
    return made


def _fit(magnitude: Tensor, wanted: Tensor) -> Tensor:
    """Magnitudes near the given ones whose mel is the wanted one: (batch, bins, frames)."""
    bank = mel_filterbank(MINI_FINE_MEL, magnitude.device, torch.float32)
    found = magnitude.clamp(min=1e-6)
    goal = bank.T @ wanted
    for _ in range(_FIT_STEPS):
        found = found * goal / (bank.T @ (bank @ found)).clamp(min=1e-9)
    return found


def _spectrum(samples: Tensor, window: Tensor) -> Tensor:
    """(batch, bins, frames); frame t is centred on the middle of hop t, as in the mel."""
    padded = torch.nn.functional.pad(samples, (_LEAD, _LEAD))
    return windowed_spectrum(padded, window, _HOP)
