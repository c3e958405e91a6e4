"""Fitting samples to a mel: closer to it, blind to the batch, silent where masked."""

from __future__ import annotations

import torch

from kouji.models.mini.config import HOP_SAMPLES
from kouji.models.mini.fine_mel import measure_fine_mel
from kouji.models.mini.refine import REACH_FRAMES, refine
from kouji.train.mini_vocoder import magnitude


def _pair(num_frames: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Shaped noise and the (1, frames, FINE_CHANNELS) mel of another shaping of it."""
    noise = torch.randn(1, num_frames * HOP_SAMPLES, generator=torch.Generator().manual_seed(seed))
    wanted = torch.nn.functional.avg_pool1d(noise * 0.3, 3, 1, 1)
    return noise * 0.05, measure_fine_mel(wanted)


def _mel_error(samples: torch.Tensor, mel: torch.Tensor) -> float:
    return float((measure_fine_mel(samples) - mel)[:, 4:-4].abs().mean())


def test_samples_come_close_to_the_mel() -> None:
    samples, mel = _pair(40, 0)
    mask = torch.ones(1, 40, 1)
    before, after = _mel_error(samples, mel), _mel_error(refine(samples[:, None], mel, mask), mel)
    assert after < 0.2 * before


def test_a_row_does_not_see_its_batch() -> None:
    (short, short_mel), (long, long_mel) = _pair(30, 1), _pair(44, 2)
    alone = refine(short[:, None], short_mel, torch.ones(1, 30, 1))
    pad = 14
    both = torch.cat([torch.nn.functional.pad(short, (0, pad * HOP_SAMPLES)), long])
    mels = torch.cat([torch.nn.functional.pad(short_mel, (0, 0, 0, pad)), long_mel])
    mask = (torch.arange(44)[None] < torch.tensor([[30], [44]])).float()[..., None]
    together = refine(both[:, None], mels, mask)
    torch.testing.assert_close(together[:1, : 30 * HOP_SAMPLES], alone, atol=1e-5, rtol=0)
    assert together[0, 30 * HOP_SAMPLES :].abs().max() == 0


def test_beyond_its_reach_nothing_changes() -> None:
    samples, mel = _pair(3 * REACH_FRAMES, 3)
    mask = torch.ones(1, 3 * REACH_FRAMES, 1)
    changed = samples.clone()
    changed[:, -HOP_SAMPLES:] += 0.5
    kept = (2 * REACH_FRAMES - 1) * HOP_SAMPLES
    one, other = (refine(x[:, None], mel, mask)[:, :kept] for x in (samples, changed))
    assert torch.equal(one, other)


def test_several_draws_of_the_noise_say_how_loud_it_is() -> None:
    samples, mel = _pair(40, 4)
    generator = torch.Generator().manual_seed(5)
    others = 0.05 * torch.randn(1, 7, samples.shape[1], generator=generator)
    mask = torch.ones(1, 40, 1)
    one = refine(samples[:, None], mel, mask)
    many = refine(torch.cat([samples[:, None], others], dim=1), mel, mask)
    spread = [float(magnitude(made, 1024)[:, 20:-20, 8:-8].log().std()) for made in (one, many)]
    assert spread[1] < 0.98 * spread[0]
    assert _mel_error(many, mel) < 0.05
