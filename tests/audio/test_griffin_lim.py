"""Phases without a network: overlap-add is exact, Griffin-Lim comes back to the mel."""

from __future__ import annotations

import torch

from kouji.audio.features import MINI_MEL, mel_spectrogram
from kouji.audio.griffin_lim import griffin_lim, magnitudes, overlap_add, windowed_spectrum


def _buzz(num_frames: int = 40) -> torch.Tensor:
    times = torch.arange(num_frames * 480) / 24_000
    return sum(torch.sin(2 * torch.pi * 150 * k * times) / k for k in range(1, 30))[None] * 0.1


def test_overlap_add_undoes_windowing() -> None:
    samples = torch.randn(2, 1920 + 480 * 9, generator=torch.Generator().manual_seed(0))
    window = torch.hann_window(1920)
    frames = torch.fft.irfft(windowed_spectrum(samples, window, 480), n=1920, dim=1)
    total = overlap_add(frames, 480) / overlap_add(
        window[None, :, None].expand(2, -1, frames.shape[-1]), 480
    ).clamp(min=1e-3)
    torch.testing.assert_close(total[:, 500:-500], samples[:, 500:-500], atol=1e-4, rtol=0)


def test_magnitudes_explain_the_mel() -> None:
    mel = mel_spectrogram(_buzz(), MINI_MEL)
    from kouji.audio.features import mel_filterbank

    bank = mel_filterbank(MINI_MEL, torch.device("cpu"), torch.float32)
    again = (bank @ magnitudes(mel, MINI_MEL)).clamp(min=1e-5).log()
    loud = mel > -7
    assert float((again - mel)[loud].abs().mean()) < 0.1


def test_more_rounds_come_closer_to_the_mel() -> None:
    mel = mel_spectrogram(_buzz(), MINI_MEL)
    errors = []
    for rounds in (0, 4, 32):
        made = griffin_lim(mel, MINI_MEL, iterations=rounds)
        assert made.shape == (1, 40 * 480)
        errors.append(float((mel_spectrogram(made, MINI_MEL) - mel)[..., 4:-4].abs().mean()))
    assert errors[0] > errors[1] > errors[2]
