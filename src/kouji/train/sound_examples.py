"""What a classifier is trained and measured on: crops with their draws, and windows of whole clips.

Splits a collection by its folds. Knows samples and class numbers; what is done with them on the
training device is `sound_augment`'s and the recipe's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import ConfigError, DataError
from kouji.models.classifier.windows import count_sounding, cut
from kouji.train.sound_augment import Augmentation, Draws, draw
from kouji.train.sound_clips import SoundClips
from kouji.types import Samples

_STRETCH_WINDOWS = 2  # of a long clip, read for one crop
_MAX_WINDOWS = 24  # of a clip that is measured; of longer ones so many, spread evenly
_FRAME_SECONDS = 0.01  # grain in which windows are searched for sound


@dataclass(frozen=True)
class Split:
    """Numbers of the clips that teach, and of those held out."""

    train: tuple[int, ...]
    valid: tuple[int, ...]
    held_out: tuple[str, ...]


def split_by_folds(clips: SoundClips, held_out: Sequence[str] | None) -> Split:
    """Hold folds out; None: the last one. Clips without a fold always teach.

    raises: ConfigError for a fold there is not, DataError where nothing is left to learn from
    """
    folds = clips.folds
    chosen = tuple(folds[-1:] if held_out is None else held_out)
    for fold in chosen:
        if fold not in folds:
            raise ConfigError(
                "there is no such fold to hold out", seen=fold, allowed=", ".join(folds)
            )
    valid = tuple(i for i in range(len(clips)) if clips.fold(i) in chosen)
    train = tuple(i for i in range(len(clips)) if clips.fold(i) not in chosen)
    if not train:
        raise DataError(
            "no clip is left to learn from", seen=f"held out: {', '.join(chosen)}",
            cure="hold fewer folds out",
        )  # fmt: skip
    return Split(train, valid, chosen)


@dataclass(frozen=True)
class Crop:
    """One example to learn from.

    samples: (samples,) float32 to crop from on the device
    label:   its class
    draws:   what is random about it; None: it is taken as it is
    other, other_label: what it may be mixed with; empty where nothing is mixed
    """

    samples: Samples
    label: int
    draws: Draws | None
    other: Samples
    other_label: int


class CropData:
    """The clips of a split to learn from: stretches of their sound, with draws."""

    def __init__(
        self,
        clips: SoundClips,
        indices: Sequence[int],
        window_samples: int,
        augmentation: Augmentation,
    ) -> None:
        self.clips, self.indices = clips, tuple(indices)
        self._room = _STRETCH_WINDOWS * window_samples
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Crop:
        index = self.indices[place]
        sound = self._sound(index, None)
        return Crop(sound, self.clips.label_id(index), None, sound[:0], 0)

    def example(self, place: int, rng: np.random.Generator) -> Crop:
        """A clip with all that is random about it."""
        index = self.indices[place]
        draws = draw(self._augmentation, rng)
        sound = self._sound(index, rng)
        other = self.indices[int(rng.integers(len(self.indices)))]
        if not self._augmentation.mixup:
            return Crop(sound, self.clips.label_id(index), draws, sound[:0], 0)
        other_sound = self._sound(other, rng)
        return Crop(
            sound, self.clips.label_id(index), draws, other_sound, self.clips.label_id(other)
        )

    def _sound(self, index: int, rng: np.random.Generator | None) -> Samples:
        """The clip between silences; of a long one two windows from anywhere, or its start."""
        begin, end = self.clips.bounds(index)
        samples = self.clips.samples(index)
        samples = samples[begin:end] if end > begin else samples
        room = len(samples) - self._room
        start = int(rng.integers(room + 1)) if rng is not None and room > 0 else 0
        return samples[start : start + self._room]

    def lengths(self) -> list[float]:
        """Seconds of each clip."""
        return [max(self.clips.seconds(index), 1e-3) for index in self.indices]

    def path(self, place: int) -> str:
        """The file of a clip."""
        return str(self.clips.path(self.indices[place]))


@dataclass(frozen=True)
class Windows:
    """One clip to be measured on.

    samples: (windows, samples) float32; weights: (windows,) samples of sound in each
    """

    samples: NDArray[np.float32]
    weights: NDArray[np.float32]
    label: int


class WindowData:
    """Whole clips as windows half a window apart, weighted by how much sound is in them."""

    def __init__(self, clips: SoundClips, indices: Sequence[int], window_samples: int) -> None:
        self.clips, self.indices = clips, tuple(indices)
        self._window = window_samples
        self._frame = max(1, round(_FRAME_SECONDS * clips.sample_rate))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Windows:
        index = self.indices[place]
        samples = self.clips.samples(index)
        if not len(samples):
            raise DataError("a clip is empty", seen=self.clips.path(index))
        spans = cut(len(samples), self._window, max(1, self._window // 2))
        if len(spans) > _MAX_WINDOWS:
            places = np.linspace(0, len(spans) - 1, _MAX_WINDOWS).round().astype(int)
            spans = [spans[number] for number in places]
        windows = np.zeros((len(spans), self._window), np.float32)
        for row, (start, end) in zip(windows, spans, strict=True):
            row[: end - start] = samples[start:end]
        weights = np.array([count_sounding(row, self._frame) for row in windows], np.float32)
        if not weights.any():
            weights[:] = 1.0
        return Windows(windows, weights, self.clips.label_id(index))

    def lengths(self) -> list[float]:
        """Seconds of each clip."""
        return [max(self.clips.seconds(index), 1e-3) for index in self.indices]

    def path(self, place: int) -> str:
        """The file of a clip."""
        return str(self.clips.path(self.indices[place]))


def collate_crops(examples: Sequence[Crop]) -> dict[str, Tensor]:
    """A padded batch: samples, num_samples, label; with draws chances, share, noise; other*."""
    batch = _padded("samples", [item.samples for item in examples])
    batch["label"] = torch.tensor([item.label for item in examples])
    draws = [item.draws for item in examples if item.draws is not None]
    if len(draws) < len(examples):
        return batch
    batch["chances"] = torch.from_numpy(np.stack([item.chances for item in draws]))
    batch["share"] = torch.tensor([item.share for item in draws], dtype=torch.float32)
    if any(len(item.noise) for item in draws):
        batch["noise"] = torch.from_numpy(np.stack([item.noise for item in draws]))
    if any(len(item.other) for item in examples):
        batch |= _padded("other", [item.other for item in examples])
        batch["other_label"] = torch.tensor([item.other_label for item in examples])
    return batch


def collate_windows(examples: Sequence[Windows]) -> dict[str, Tensor]:
    """Windows of all clips one after the other, with `clip`, the row each belongs to."""
    counts = torch.tensor([len(item.samples) for item in examples])
    return {
        "windows": torch.from_numpy(np.concatenate([item.samples for item in examples])),
        "weights": torch.from_numpy(np.concatenate([item.weights for item in examples])),
        "clip": torch.repeat_interleave(torch.arange(len(examples)), counts),
        "label": torch.tensor([item.label for item in examples]),
    }


def _padded(name: str, sounds: Sequence[Samples]) -> dict[str, Tensor]:
    longest = max(1, *(len(sound) for sound in sounds))
    padded = torch.zeros(len(sounds), longest)
    for row, sound in zip(padded, sounds, strict=True):
        row[: len(sound)] = torch.from_numpy(np.ascontiguousarray(sound))
    return {name: padded, f"num_{name}": torch.tensor([len(sound) for sound in sounds])}
