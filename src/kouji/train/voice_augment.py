"""The same words by other speakers: changes of voice for classifiers that hear new ones.

On the device that trains, like `sound_augment`, and random by the same numbers drawn with each
example. Speed changes pitch and formants together, as a larger or smaller speaker would have them;
the mel axis is warped on its own, as by another vocal tract (Jaitly and Hinton, "Vocal Tract Length
Perturbation (VTLP) improves speech recognition", 2013); time is stretched unevenly, and the
spectrum tilted as by another microphone. Knows no model and no labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from kouji.errors import ConfigError
from kouji.train.sound_augment import SILENCE

_LOUDEST = 2.0  # of the classifier's log-mel: the loudest point of a window
_SECOND_DRAW = 4096.0  # a draw has 24 bits; the lower half of them is a draw of its own
_SPEED, _WARP, _STRETCH, _PHASE, _TURNS, _TILT = 0, 1, 2, 3, 4, 5
_NUM_TILTS = 4
_FLOOR = _TILT + _NUM_TILTS
_KNEE = 0.8  # above it the warped axis bends back, so that its top stays the top


@dataclass(frozen=True)
class VoiceChange:
    """The `data.voice` block; each part is off at 0.

    speed:   played exp(-speed) to exp(speed) times as fast: 0.2 is 0.82 to 1.22
    warp:    the mel axis is warped by a factor of exp(-warp) to exp(warp)
    stretch: time runs up to this share faster and slower, by turns
    tilt:    standard deviation of the smooth changes of the spectrum, where 1 is 20 dB
    floor:   what is quieter than a level is lifted to it, as under the noise of a room; the level
             is up to this share of the 80 dB that are heard
    """

    speed: float = 0.2
    warp: float = 0.12
    stretch: float = 0.2
    tilt: float = 0.3
    floor: float = 0.4

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= 0.5:
                raise ConfigError(
                    f"data.voice.{item.name} is wrong", seen=value, allowed="a number, 0 to 0.5"
                )

    @classmethod
    def from_dict(cls, values: dict[str, Any] | bool | None) -> VoiceChange | None:
        """Read the block; without it or with false no voice is changed."""
        if values is None or values is False:
            return None
        if values is True:
            return cls()
        if not isinstance(values, dict):
            raise ConfigError("data.voice is wrong", seen=values, allowed="a mapping or false")
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"unknown key {key!r} in data.voice",
                    seen=values[key],
                    allowed=", ".join(known),
                )
        return cls(**values)


def change_speed(samples: Tensor, chances: Tensor, change: VoiceChange) -> Tensor:
    """Play each crop faster or slower from its start; silence follows where it ends early.

    samples: (batch, samples) float32; chances: (batch, draws) of the examples
    returns: (batch, samples), interpolated by cubics (Catmull and Rom 1974)
    """
    if change.speed == 0:
        return samples
    factor = speed_factor(chances, change)
    steps = torch.arange(samples.shape[1], device=samples.device)
    places = steps * factor[:, None]
    before, start, end, after = (_at(samples, places.floor().long() + k) for k in (-1, 0, 1, 2))
    part = places - places.floor()
    bent = 3 * (start - end) + after - before
    bow = 2 * before - 5 * start + 4 * end - after
    return start + 0.5 * part * (end - before + part * (bow + part * bent))


def speed_factor(chances: Tensor, change: VoiceChange) -> Tensor:
    """(batch,) how many times as fast `change_speed` plays each crop."""
    return torch.exp((2 * _draw(chances, _SPEED) - 1) * change.speed)


def _at(samples: Tensor, places: Tensor) -> Tensor:
    """Samples at whole-numbered places, 0 outside."""
    is_inside = (places >= 0) & (places < samples.shape[1])
    return samples.gather(1, places.clamp(0, samples.shape[1] - 1)) * is_inside


def change_mel(mel: Tensor, chances: Tensor, change: VoiceChange) -> Tensor:
    """Warp bands, stretch time, tilt the spectrum and lift its floor.

    mel: (batch, 1, mels, frames) of the classifier's features; returns the same shape
    """
    if change.warp > 0:
        factor = torch.exp((2 * _draw(chances, _WARP) - 1) * change.warp)
        mel = _read_at(mel, _warped(mel.shape[2], factor))
    if change.stretch > 0:
        places = _undulating(mel.shape[3], chances, change.stretch)
        mel = _read_at(mel.transpose(2, 3), places).transpose(2, 3)
    if change.tilt > 0:
        mel = (mel + _tilts(mel.shape[2], chances, change.tilt)).clamp(SILENCE, _LOUDEST)
    if change.floor > 0:
        mel = _lifted(mel, chances, change.floor)
    return mel


def _lifted(mel: Tensor, chances: Tensor, floor: float) -> Tensor:
    """Raise what is quiet within the sound; the silence a crop is padded with stays."""
    level = SILENCE + (_LOUDEST - SILENCE) * floor * _draw(chances, _FLOOR)
    is_sound = (mel > SILENCE).any(dim=2, keepdim=True)
    return torch.where(is_sound, torch.maximum(mel, level[:, None, None, None]), mel)


def _draw(chances: Tensor, column: int) -> Tensor:
    """(batch,) in [0, 1): another draw from the same numbers, so that none of theirs changes."""
    return (chances[:, column] * _SECOND_DRAW) % 1


def _warped(count: int, factor: Tensor) -> Tensor:
    """(batch, count) where each band is read: `factor` times as high below the knee."""
    bands = torch.arange(count, device=factor.device, dtype=factor.dtype)
    slope, top = factor[:, None], count - 1
    knee = _KNEE * top / slope.clamp(min=1)
    above = slope * knee + (bands - knee) * (top - slope * knee) / (top - knee)
    return torch.where(bands < knee, bands * slope, above)


def _undulating(count: int, chances: Tensor, stretch: float) -> Tensor:
    """(batch, count) where each frame is read: time runs now faster, now slower."""
    phase, turns = _draw(chances, _PHASE)[:, None], 1 + 2 * _draw(chances, _TURNS)[:, None]
    height = stretch * _draw(chances, _STRETCH)[:, None]
    along = torch.arange(count, device=chances.device) / count
    wave = torch.sin(2 * math.pi * (turns * along + phase)) / (2 * math.pi * turns)
    return (along + height * wave) * count


def _tilts(count: int, chances: Tensor, tilt: float) -> Tensor:
    """(batch, 1, count, 1) to be added: a slope, a bow and two ripples over the bands."""
    axis = torch.linspace(-1, 1, count, device=chances.device)
    shapes = [axis, axis.square() - 1 / 3, (2 * math.pi * axis).cos(), (1.5 * math.pi * axis).sin()]
    draws = torch.stack([_draw(chances, _TILT + k) for k in range(_NUM_TILTS)], dim=1)
    heights = (2 * draws - 1) * math.sqrt(3) * tilt  # even, of this standard deviation
    return (heights @ torch.stack(shapes))[:, None, :, None]


def _read_at(mel: Tensor, places: Tensor) -> Tensor:
    """Read (batch, 1, rows, columns) at fractional rows (batch, rows)."""
    last = mel.shape[2] - 1
    places = places.clamp(0, last)
    low = places.floor().clamp(max=max(last - 1, 0)).long()
    part = (places - low)[:, None, :, None]
    index = low[:, None, :, None].expand(-1, -1, -1, mel.shape[3])
    return torch.lerp(mel.gather(2, index), mel.gather(2, (index + 1).clamp(max=last)), part)
