"""Other recordings out of a batch of sounds, on the device that trains.

What is random was drawn before, for each example by itself (`draw`), and comes as numbers in the
batch. So a run is the same after a resume, for any number of processes and passes, and on CPU and
GPU; and how strong the changes are can be turned up while a run goes on.
Time and frequency masks: Park et al., "SpecAugment", 2019. Mixup: Zhang et al., "mixup: Beyond
Empirical Risk Minimization", 2018. Knows no model and no labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import ConfigError

SILENCE = -2.0  # of the classifier's log-mel: what a mask hides behind
NOISE_SAMPLES = 16384  # one period of the noise; a longer crop hears it again
_MAX_MASKS = 4
_WIDEST_MASK = 0.5  # of the axis, however strong
# Places in an example's draws, each a number in [0, 1).
PLACE, OTHER_PLACE = 0, 1  # of an example's crop, and of the one it is mixed with
_GAIN, _HAS_NOISE, _SNR, _COLOUR, _HAS_MIXUP = range(2, 7)
_MASKS = 7
NUM_DRAWS = _MASKS + 4 * _MAX_MASKS


@dataclass(frozen=True)
class Augmentation:
    """The `data.augment` block; each part is off at 0 or false.

    crop:            begin anywhere, instead of in the middle
    shift:           turn the sound in a circle, so that it begins anywhere and goes on at its start
    gain_db:         louder or softer by up to so much
    noise:           share of examples with noise, white to pink
    noise_snr_db:    lowest and highest distance of the noise below the sound
    time_masks:      stretches of time hidden, each up to time_mask of the frames
    frequency_masks: bands hidden, each up to frequency_mask of the mels
    mixup:           share of examples that are mixed with another one
    mixup_alpha:     of the Beta(alpha, alpha) the mixture is drawn from
    """

    crop: bool = True
    shift: bool = True
    gain_db: float = 6.0
    noise: float = 0.2
    noise_snr_db: tuple[float, float] = (10.0, 40.0)
    time_masks: int = 2
    time_mask: float = 0.2
    frequency_masks: int = 2
    frequency_mask: float = 0.2
    mixup: float = 0.5
    mixup_alpha: float = 0.4

    def __post_init__(self) -> None:
        for name in ("noise", "time_mask", "frequency_mask", "mixup"):
            _check(name, getattr(self, name), 0, 1)
        for name in ("time_masks", "frequency_masks"):
            _check(name, getattr(self, name), 0, _MAX_MASKS)
        _check("gain_db", self.gain_db, 0, 60)
        _check("mixup_alpha", self.mixup_alpha, 1e-3, 100)
        low, high = self.noise_snr_db
        if not -20 <= low <= high <= 100:
            raise ConfigError(
                "data.augment.noise_snr_db is wrong",
                seen=self.noise_snr_db,
                allowed="two numbers in order, -20 to 100",
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any] | bool | None) -> Augmentation:
        """Read the block; false: nothing is changed. ConfigError for unknown keys and values."""
        if values is None or values is True:
            return cls()
        if values is False:
            return NONE
        if not isinstance(values, dict):
            raise ConfigError("data.augment is wrong", seen=values, allowed="a mapping or false")
        kinds = {item.name: type(item.default) for item in fields(cls)}
        read = {key: _typed(key, value, kinds) for key, value in values.items()}
        return cls(**read)

    def stronger(self, factor: float) -> Augmentation:
        """The same with more examples changed and more of each hidden; 1: as it is."""
        return Augmentation(
            crop=self.crop,
            shift=self.shift,
            gain_db=min(60.0, self.gain_db * factor),
            noise=min(1.0, self.noise * factor),
            noise_snr_db=self.noise_snr_db,
            time_masks=self.time_masks,
            time_mask=min(max(_WIDEST_MASK, self.time_mask), self.time_mask * factor),
            frequency_masks=self.frequency_masks,
            frequency_mask=min(
                max(_WIDEST_MASK, self.frequency_mask), self.frequency_mask * factor
            ),
            mixup=min(1.0, self.mixup * factor),
            mixup_alpha=self.mixup_alpha,
        )


def _typed(key: str, value: Any, kinds: dict[str, Any]) -> Any:
    kind = kinds.get(key)
    if kind is None:
        raise ConfigError(
            f"unknown key {key!r} in data.augment", seen=value, allowed=", ".join(kinds)
        )
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is tuple and isinstance(value, list | tuple) and len(value) == 2:
        return tuple(float(item) for item in value)
    if kind is float and is_number:
        return float(value)
    if kind is not tuple and type(value) is kind:
        return value
    wanted = "two numbers" if kind is tuple else kind.__name__
    raise ConfigError(f"data.augment.{key} has a wrong type", seen=value, allowed=wanted)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(
            f"data.augment.{name} is out of range", seen=value, allowed=f"{low} to {high}"
        )


DEFAULT = Augmentation()
NONE = Augmentation(
    crop=False, shift=False, gain_db=0.0, noise=0.0, time_masks=0, frequency_masks=0, mixup=0.0
)


@dataclass(frozen=True)
class Draws:
    """What is random about one example.

    chances: (NUM_DRAWS,) float32 in [0, 1)
    share:   of the example in its mixture, 0.5 to 1
    noise:   (NOISE_SAMPLES,) float32 white; empty where no noise is asked for
    """

    chances: NDArray[np.float32]
    share: float
    noise: NDArray[np.float32]


def draw(augmentation: Augmentation, rng: np.random.Generator) -> Draws:
    """Draw for one example; the numbers do not depend on how strong the changes are."""
    chances = rng.random(NUM_DRAWS, dtype=np.float32)
    share = float(rng.beta(augmentation.mixup_alpha, augmentation.mixup_alpha))
    count = NOISE_SAMPLES if augmentation.noise else 0
    return Draws(chances, max(share, 1 - share), rng.standard_normal(count, dtype=np.float32))


def cut_crops(
    samples: Tensor,
    num_samples: Tensor,
    crop_samples: int,
    places: Tensor,
    augmentation: Augmentation,
) -> Tensor:
    """A crop of each sound; silence follows where a sound is shorter.

    samples:     (batch, samples) float, zeros after `num_samples`
    num_samples: (batch,) int64
    places:      (batch,) in [0, 1), a column of the chances
    returns:     (batch, crop_samples)
    """
    if samples.shape[1] < crop_samples:
        samples = torch.nn.functional.pad(samples, (0, crop_samples - samples.shape[1]))
    circle = num_samples.clamp(min=crop_samples)
    room = circle if augmentation.shift else circle - crop_samples + 1
    if augmentation.shift or augmentation.crop:
        start = (places.double() * room).long()
    else:
        start = (room - 1) // 2
    steps = torch.arange(crop_samples, device=samples.device)
    return samples.gather(1, (start[:, None] + steps) % circle[:, None])


def change_samples(
    samples: Tensor, chances: Tensor, noise: Tensor, augmentation: Augmentation
) -> Tensor:
    """Gain and noise.

    samples: (batch, samples) float32; chances: (batch, NUM_DRAWS)
    noise:   (batch, NOISE_SAMPLES) white; not looked at where none is asked for
    """
    if augmentation.noise > 0:
        samples = samples + _noise(samples, chances, noise, augmentation)
    if augmentation.gain_db > 0:
        gain_db = (2 * chances[:, _GAIN] - 1) * augmentation.gain_db
        samples = samples * (10 ** (gain_db / 20))[:, None]
    return samples


def _noise(samples: Tensor, chances: Tensor, noise: Tensor, augmentation: Augmentation) -> Tensor:
    """White to pink noise of the drawn distance; zeros for examples that get none."""
    spectrum = torch.fft.rfft(noise)
    hertz = torch.arange(spectrum.shape[1], device=noise.device).clamp(min=1)
    tilt = -0.5 * chances[:, _COLOUR, None] * hertz.log()  # 0: white; 1: 3 dB less an octave
    coloured = torch.fft.irfft(spectrum * tilt.exp(), n=noise.shape[1])
    low, high = augmentation.noise_snr_db
    distance = low + (high - low) * chances[:, _SNR]
    wanted = samples.square().mean(dim=1) * 10 ** (-distance / 10)
    level = (wanted / coloured.square().mean(dim=1).clamp(min=1e-12)).sqrt()
    level = level * (chances[:, _HAS_NOISE] < augmentation.noise)
    steps = torch.arange(samples.shape[1], device=samples.device) % noise.shape[1]
    added: Tensor = level[:, None] * coloured[:, steps]
    return added


def mixture(chances: Tensor, share: Tensor, augmentation: Augmentation) -> Tensor:
    """(batch,) how much of each example is itself, 1 for those that are not mixed."""
    return torch.where(chances[:, _HAS_MIXUP] < augmentation.mixup, share, torch.ones_like(share))


def hide_stripes(mel: Tensor, chances: Tensor, augmentation: Augmentation) -> Tensor:
    """Time and frequency masks.

    mel:     (batch, 1, mels, frames) of the classifier's features
    chances: (batch, NUM_DRAWS)
    """
    time, band = augmentation.time_masks, augmentation.frequency_masks
    widths, places = chances[:, _MASKS::2], chances[:, _MASKS + 1 :: 2]
    hidden = _stripes(mel.shape[3], widths[:, :time], places[:, :time], augmentation.time_mask)
    mel = mel.masked_fill(hidden[:, None, None, :], SILENCE)
    own = slice(_MAX_MASKS, _MAX_MASKS + band)
    hidden = _stripes(mel.shape[2], widths[:, own], places[:, own], augmentation.frequency_mask)
    return mel.masked_fill(hidden[:, None, :, None], SILENCE)


def _stripes(count: int, widths: Tensor, places: Tensor, widest: float) -> Tensor:
    """(batch, count) bool: covered by one of the stripes, each up to `widest` of the axis."""
    width = (widths * (math.floor(widest * count) + 1)).long()
    start = (places * (count - width + 1)).long()
    steps = torch.arange(count, device=widths.device)
    covered = (steps >= start[..., None]) & (steps < (start + width)[..., None])
    return covered.any(dim=1)
