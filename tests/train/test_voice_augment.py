"""Changed voices: pitch and bands move as asked, nothing at zero, and one row by itself."""

from __future__ import annotations

import math

import pytest
import torch

from kouji.errors import ConfigError
from kouji.train.sound_augment import NUM_DRAWS
from kouji.train.voice_augment import VoiceChange, change_mel, change_speed

RATE = 8000
NONE = VoiceChange(speed=0, warp=0, stretch=0, tilt=0, floor=0)


def draws(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(rows, NUM_DRAWS, generator=torch.Generator().manual_seed(seed))


def tone(hertz: float, rows: int = 1) -> torch.Tensor:
    times = torch.arange(RATE) / RATE
    return torch.sin(2 * math.pi * hertz * times).expand(rows, -1).contiguous()


def loudest_hertz(samples: torch.Tensor) -> torch.Tensor:
    """Of the first half second, which even the fastest crop still fills."""
    part = samples[:, : RATE // 2] * torch.hann_window(RATE // 2)
    return torch.fft.rfft(part, n=RATE).abs().argmax(dim=1).float()


def test_speed_moves_a_tone_within_its_range() -> None:
    changed = change_speed(tone(500, 64), draws(64), VoiceChange(speed=0.2))
    ratios = loudest_hertz(changed) / 500
    assert ratios.min() > math.exp(-0.2) - 0.01
    assert ratios.max() < math.exp(0.2) + 0.01
    assert ratios.max() - ratios.min() > 0.3
    power = changed[:, : RATE // 2].square().mean(dim=1)
    assert torch.allclose(power, torch.full_like(power, 0.5), atol=0.02)


def test_bands_move_and_the_ends_stay() -> None:
    mel = torch.full((32, 1, 40, 5), -2.0)
    mel[:, :, 15] = 1.0
    change = VoiceChange(speed=0, warp=0.2, stretch=0, tilt=0, floor=0)
    peaks = change_mel(mel, draws(32), change)[:, 0, :, 2].argmax(dim=1)
    assert peaks.min() >= 12
    assert peaks.max() <= 19
    assert len(set(peaks.tolist())) >= 5
    ramp = torch.arange(40.0)[None, None, :, None].expand(32, 1, 40, 5)
    warped = change_mel(ramp, draws(32), change)
    assert torch.all(warped[:, 0, 0, 0] == 0)
    assert torch.allclose(warped[:, 0, -1, 0], torch.tensor(39.0), atol=1e-4)
    assert (warped.diff(dim=2) > 0).all()


def test_time_is_stretched_in_order() -> None:
    ramp = torch.arange(60.0)[None, None, None, :].expand(16, 1, 8, 60)
    change = VoiceChange(speed=0, warp=0, stretch=0.5, tilt=0, floor=0)
    stretched = change_mel(ramp, draws(16), change)
    assert (stretched[:, 0, 0].diff(dim=1) >= 0).all()
    assert (stretched - ramp).abs().amax() > 2
    assert (stretched - ramp).abs().amax() < 0.5 * 60 / (2 * math.pi)


def test_tilts_have_the_spread_asked_for_and_stay_in_range() -> None:
    mel = torch.zeros(2000, 1, 33, 2)
    change = VoiceChange(speed=0, warp=0, stretch=0, tilt=0.1, floor=0)
    tilted = change_mel(mel, draws(2000), change)
    assert torch.allclose(tilted[..., 0], tilted[..., 1])
    assert 0.05 < tilted.std() < 0.2
    top = change_mel(torch.full((8, 1, 33, 2), 2.0), draws(8), change)
    assert top.max() <= 2.0


def test_the_floor_is_lifted_within_the_sound_only() -> None:
    mel = torch.linspace(-1.9, 2, 40)[None, None, :, None].repeat(64, 1, 1, 6)
    mel[..., 4:] = -2.0
    change = VoiceChange(speed=0, warp=0, stretch=0, tilt=0, floor=0.5)
    lifted = change_mel(mel, draws(64), change)
    lowest = lifted[:, 0, 0, 0]
    assert lowest.max() <= 0.0
    assert lowest.max() > -0.3
    assert torch.all(lifted[..., 4:] == -2.0)
    assert torch.equal(lifted[:, :, -1], mel[:, :, -1])


def test_zero_changes_nothing() -> None:
    samples, mel = torch.randn(3, 100), torch.randn(3, 1, 8, 9)
    assert torch.equal(change_speed(samples, draws(3), NONE), samples)
    assert torch.equal(change_mel(mel, draws(3), NONE), mel)


def test_a_row_does_not_depend_on_its_batch() -> None:
    samples, mel, chances = torch.randn(5, 400), torch.randn(5, 1, 20, 30).clamp(-2, 2), draws(5)
    change = VoiceChange()
    whole = change_speed(samples, chances, change), change_mel(mel, chances, change)
    alone = (
        change_speed(samples[3:4], chances[3:4], change),
        change_mel(mel[3:4], chances[3:4], change),
    )
    for many, one in zip(whole, alone, strict=True):
        assert torch.allclose(many[3:4], one, atol=1e-6)


@pytest.mark.parametrize(
    "block", [{"speed": -0.1}, {"warp": 2}, {"pitch": 0.1}, {"tilt": "much"}, {"warp": True}, 3]
)
def test_wrong_blocks_are_named(block: object) -> None:
    with pytest.raises(ConfigError, match=r"data\.voice"):
        VoiceChange.from_dict(block)  # type: ignore[arg-type]


def test_the_block_is_off_unless_asked_for() -> None:
    assert VoiceChange.from_dict(None) is None
    assert VoiceChange.from_dict(False) is None
    assert VoiceChange.from_dict(True) == VoiceChange()
    assert VoiceChange.from_dict({"speed": 0.1}) == VoiceChange(speed=0.1)
