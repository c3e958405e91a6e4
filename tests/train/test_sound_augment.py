"""Augmentation: each part does what it says, from the numbers drawn, and can be switched off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from kouji.errors import ConfigError
from kouji.train.sound_augment import (
    NOISE_SAMPLES,
    NONE,
    NUM_DRAWS,
    PLACE,
    SILENCE,
    Augmentation,
    change_samples,
    cut_crops,
    draw,
    hide_stripes,
    mixture,
)

BATCH, SAMPLES = 16, 4000


def drawn(augmentation: Augmentation, seed: int = 0) -> dict[str, torch.Tensor]:
    each = [draw(augmentation, np.random.default_rng([seed, row])) for row in range(BATCH)]
    return {
        "chances": torch.from_numpy(np.stack([item.chances for item in each])),
        "share": torch.tensor([item.share for item in each]),
        "noise": torch.from_numpy(np.stack([item.noise for item in each])),
    }


def sound() -> torch.Tensor:
    return 0.1 * torch.randn(BATCH, SAMPLES, generator=torch.Generator().manual_seed(1))


def test_the_same_generator_draws_the_same() -> None:
    one, two = (draw(Augmentation(), np.random.default_rng(3)) for _ in range(2))
    assert (one.chances == two.chances).all()
    assert (one.noise == two.noise).all()
    assert one.share == two.share
    assert one.chances.shape == (NUM_DRAWS,)
    assert one.noise.shape == (NOISE_SAMPLES,)
    assert 0.5 <= one.share <= 1


def test_nothing_is_changed_when_all_is_off() -> None:
    numbers, samples = drawn(NONE), sound()
    assert torch.equal(change_samples(samples, numbers["chances"], numbers["noise"], NONE), samples)
    mel = torch.randn(BATCH, 1, 16, 40)
    assert torch.equal(hide_stripes(mel, numbers["chances"], NONE), mel)
    assert mixture(numbers["chances"], numbers["share"], NONE).tolist() == [1.0] * BATCH


def test_crops_of_short_and_long_sounds() -> None:
    counts = torch.tensor([SAMPLES, 500] * (BATCH // 2))
    samples = torch.arange(1, SAMPLES + 1).float().repeat(BATCH, 1)
    samples[1::2, 500:] = 0
    middle = cut_crops(samples, counts, 1000, torch.rand(BATCH), NONE)
    assert middle.shape == (BATCH, 1000)
    assert middle[0, 0] == 1501  # the middle of 4000
    assert middle[1].tolist() == [*range(1, 501), *[0] * 500]
    turned = cut_crops(samples, counts, 1000, torch.rand(BATCH), Augmentation())
    assert sorted(turned[1].tolist()) == sorted(middle[1].tolist())  # all of it, begun elsewhere
    steps = turned[0].diff()
    assert ((steps == 1) | (steps == 1 - SAMPLES)).all()  # one piece of the circle


@pytest.mark.parametrize("place", [0.0, 1 - 1e-7])
def test_crops_stay_inside(place: float) -> None:
    samples = torch.arange(1, SAMPLES + 1).float().repeat(BATCH, 1)
    counts, places = torch.full((BATCH,), SAMPLES), torch.full((BATCH,), place)
    for augmentation in (Augmentation(), Augmentation(shift=False)):
        crops = cut_crops(samples, counts, 1000, places, augmentation)
        assert (crops > 0).all()
    assert crops[0, 0] == (1 if place == 0 else SAMPLES - 1000 + 1)


def test_noise_has_the_distance_that_was_drawn() -> None:
    augmentation = Augmentation(noise=1.0, noise_snr_db=(20.0, 20.0), gain_db=0.0)
    numbers, samples = drawn(augmentation), sound()
    changed = change_samples(samples, numbers["chances"], numbers["noise"], augmentation)
    noise = changed - samples
    ratio = 10 * (samples.square().mean(1) / noise.square().mean(1)).log10()
    assert ratio.tolist() == pytest.approx([20.0] * BATCH, abs=1.5)


def test_noise_goes_from_white_to_pink() -> None:
    augmentation = Augmentation(noise=1.0, gain_db=0.0)
    numbers, samples = drawn(augmentation), torch.ones(BATCH, NOISE_SAMPLES)
    slopes = []
    for colour in (0.0, 1.0):
        numbers["chances"][:, 5] = colour
        noise = change_samples(samples, numbers["chances"], numbers["noise"], augmentation) - 1
        power = torch.fft.rfft(noise).abs().square().mean(0)
        octaves = (power[4096:8192].mean() / power[256:512].mean()).log2() / 4
        slopes.append(float(octaves))
    assert slopes == pytest.approx([0.0, -1.0], abs=0.15)  # 3 dB an octave: half the power


def test_gain_stays_within_its_limit_and_a_row_depends_on_itself_alone() -> None:
    augmentation = Augmentation(noise=0.0, gain_db=6.0)
    numbers, samples = drawn(augmentation), sound()
    changed = change_samples(samples, numbers["chances"], numbers["noise"], augmentation)
    gain_db = 20 * (changed / samples).mean(1).log10()
    assert gain_db.abs().max() <= 6.0 + 1e-4
    assert gain_db.std() > 1
    alone = change_samples(samples[3:4], numbers["chances"][3:4], numbers["noise"], augmentation)
    assert torch.equal(alone, changed[3:4])


def test_masks_hide_stripes_and_no_more_than_asked() -> None:
    augmentation = Augmentation(time_masks=1, time_mask=0.25, frequency_masks=1, frequency_mask=0.5)
    mel = torch.ones(BATCH, 1, 16, 40)
    hidden = hide_stripes(mel, drawn(augmentation)["chances"], augmentation) == SILENCE
    frames, bands = hidden.all(dim=2)[:, 0].sum(1), hidden.all(dim=3)[:, 0].sum(1)
    assert 0 < frames.max() <= 10
    assert 0 < bands.max() <= 8
    for row in hidden[:, 0]:  # nothing but whole stripes
        assert torch.equal(row, row.all(0)[None, :] | row.all(1)[:, None])


def test_mixture_follows_its_share() -> None:
    numbers = drawn(Augmentation())
    always = mixture(numbers["chances"], numbers["share"], Augmentation(mixup=1.0))
    assert torch.equal(always, numbers["share"])
    some = mixture(numbers["chances"], numbers["share"], Augmentation(mixup=0.5))
    assert 0 < int((some == 1).sum()) < BATCH


def test_stronger_changes_more_from_the_same_numbers() -> None:
    augmentation = Augmentation(noise=0.2, mixup=0.4, time_mask=0.4)
    strong = augmentation.stronger(1.5)
    assert (strong.noise, strong.mixup) == pytest.approx((0.3, 0.6))
    assert strong.time_mask == 0.5  # not more than half of a clip
    assert augmentation.stronger(1.0) == augmentation
    mel, chances = torch.ones(BATCH, 1, 16, 40), drawn(augmentation)["chances"]
    hidden = [(hide_stripes(mel, chances, a) == SILENCE).sum() for a in (augmentation, strong)]
    assert hidden[1] > hidden[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cpu_and_gpu_change_alike() -> None:
    augmentation = Augmentation(noise=1.0)
    numbers, samples = drawn(augmentation), sound()
    results = []
    for device in ("cpu", "cuda"):
        there = {name: value.to(device) for name, value in numbers.items()}
        counts = torch.full((BATCH,), SAMPLES, device=device)
        places = there["chances"][:, PLACE]
        crops = cut_crops(samples.to(device), counts, 1000, places, augmentation)
        changed = change_samples(crops, there["chances"], there["noise"], augmentation)
        results.append(changed.cpu())
    assert torch.allclose(*results, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"mixup": 2}, "mixup is out of range"),
        ({"time_masks": 1.5}, "time_masks has a wrong type"),
        ({"noise_snr_db": [30, 10]}, "noise_snr_db is wrong"),
        ({"noise_snr_db": 3}, "noise_snr_db has a wrong type"),
        ({"crop": 1}, "crop has a wrong type"),
        ("strong", "data.augment is wrong"),
    ],
)
def test_wrong_values_are_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation.from_dict(values)


def test_reads_what_yaml_gives() -> None:
    assert Augmentation.from_dict(None) == Augmentation.from_dict({}) == Augmentation()
    assert Augmentation.from_dict(False) == NONE
    read = Augmentation.from_dict({"gain_db": 3, "noise_snr_db": [5, 20]})
    assert (read.gain_db, read.noise_snr_db) == (3.0, (5.0, 20.0))
