"""The fine mel: two mels of 10 ms in a frame, in order, and what can be made of them."""

from __future__ import annotations

import torch

from kouji.audio.features import MINI_FINE_MEL, MINI_MEL, mel_spectrogram
from kouji.models.mini.config import FINE_CHANNELS, HOP_SAMPLES, NUM_MELS
from kouji.models.mini.fine_mel import (
    coarse_mel,
    join_bands,
    log_magnitudes,
    measure_fine_mel,
    one_after_another,
)

FRAMES = 30


def noise() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(1, FRAMES * HOP_SAMPLES, generator=generator)


def test_a_frame_holds_its_two_halves_in_order() -> None:
    for half in (0, 1):
        click = torch.zeros(1, FRAMES * HOP_SAMPLES)
        click[0, 12 * HOP_SAMPLES + HOP_SAMPLES // 4 + half * HOP_SAMPLES // 2] = 1.0
        fine = measure_fine_mel(click)
        assert fine.shape == (1, FRAMES, FINE_CHANNELS)
        in_a_row = one_after_another(fine)[0].mean(dim=1)
        assert int(in_a_row.argmax()) == 2 * 12 + half


def test_the_scaling_is_undone() -> None:
    samples = noise()
    torch.testing.assert_close(
        log_magnitudes(measure_fine_mel(samples)), mel_spectrogram(samples, MINI_FINE_MEL)
    )


def test_the_coarse_mel_is_about_the_one_that_is_measured() -> None:
    samples = noise()
    made = coarse_mel(measure_fine_mel(samples))
    real = mel_spectrogram(samples, MINI_MEL).transpose(1, 2)
    assert made.shape == real.shape == (1, FRAMES, NUM_MELS)
    assert float((made - real)[:, 4:-4].mean().abs()) < 0.2  # nats
    assert float((made - real)[:, 4:-4, 40:].abs().mean()) < 0.3


def test_bands_are_joined_in_both_halves() -> None:
    low, high = torch.zeros(1, 2, FINE_CHANNELS), torch.ones(1, 2, FINE_CHANNELS)
    joined = one_after_another(join_bands(low, high, 66))
    assert joined.shape == (1, 4, NUM_MELS)
    assert (joined[..., :66] == 0).all()
    assert (joined[..., 66:] == 1).all()
