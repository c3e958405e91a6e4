"""A start for classifiers of words: which phone is said, every 20 ms of aligned speech.

Some hundred voices reading sentences teach a network what all speakers of a word have in common;
a handful of speakers who say ten words cannot. The result is a classifier of phones, and
`init_from` takes it over for other labels (`kouji.train.classifier`). Learns from stretches of
sentences with silence behind them, as single words are heard. Knows no command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.audio.resample import resample
from kouji.errors import ConfigError, DataError
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.model import SoundModel
from kouji.models.classifier.tdnn import STACKED, Tdnn
from kouji.text.phones import SYMBOLS, is_silence
from kouji.train.sound_augment import (
    DEFAULT,
    Augmentation,
    Draws,
    change_samples,
    draw,
    hide_stripes,
)
from kouji.train.store import Store
from kouji.train.voice_augment import VoiceChange, change_mel, change_speed, speed_factor
from kouji.types import Audio, Samples

SILENCE = 0  # its class
_IGNORED = -100  # the silence that fills a window teaches nothing
_SHORTEST_SHARE = 0.15  # of a window, that is sound
_SAME_VOICE = VoiceChange(speed=0.0, warp=0.0, stretch=0.0, tilt=0.0, floor=0.0)


@dataclass(frozen=True)
class PhoneData:
    """The `data:` block.

    store:     folder of a prepared and aligned store (`kouji prepare`, `kouji align`)
    languages: which of its clips teach; only the first one is measured
    augment, voice: as for classifiers; `crop`, `shift`, `mixup` and `stretch` have no part here
    """

    store: str
    languages: tuple[str, ...] = ("en", "zh")
    label_smoothing: float = 0.1
    augment: Augmentation = DEFAULT
    voice: VoiceChange | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PhoneData:
        """Read the block; ConfigError for unknown keys, wrong values or no store."""
        known = [item.name for item in fields(cls)]
        for key, value in values.items():
            if key not in known:
                raise ConfigError(
                    f"unknown key {key!r} in data", seen=value, allowed=", ".join(known)
                )
        if not isinstance(values.get("store"), str) or not values["store"]:
            raise ConfigError(
                "phones are learned from aligned speech",
                seen=values.get("store"),
                cure="set data.store to a prepared store; kouji align adds the alignment",
            )
        languages = values.get("languages", cls.languages)
        if isinstance(languages, str) or not languages:
            raise ConfigError("data.languages is wrong", seen=languages, allowed="a list")
        smoothing = values.get("label_smoothing", cls.label_smoothing)
        if isinstance(smoothing, bool) or not isinstance(smoothing, int | float):
            raise ConfigError("data.label_smoothing is wrong", seen=smoothing, allowed="a number")
        return cls(
            store=values["store"],
            languages=tuple(str(language) for language in languages),
            label_smoothing=float(smoothing),
            augment=Augmentation.from_dict(values.get("augment")),
            voice=VoiceChange.from_dict(values.get("voice")),
        )


def phone_labels() -> tuple[str, ...]:
    """The classes: silence, then every phone of both languages, tones and stress left out."""
    return ("sil", *(name for name in SYMBOLS[1:] if not is_silence(name)))


def class_table() -> NDArray[np.int64]:
    """(symbols,) the class of each id of `text.phones.SYMBOLS`."""
    numbers = {name: number for number, name in enumerate(phone_labels())}
    return np.array([numbers.get(name, SILENCE) for name in SYMBOLS], np.int64)


class Stretch(NamedTuple):
    """A stretch of a sentence.

    samples: (samples,) float32 at the classifier's rate
    phones:  (frames,) int64, the class of each frame of the store
    draws:   what is random about it; None: it is taken as it is
    """

    samples: Samples
    phones: NDArray[np.int64]
    draws: Draws | None = None


class Stretches:
    """Stretches of the clips of a store, as many of a clip as fit into it."""

    def __init__(
        self, store: Store, window_seconds: float, sample_rate: int, augmentation: Augmentation
    ) -> None:
        self._store, self._augmentation, self._rate = store, augmentation, sample_rate
        self._frame_seconds = store.hop_length / store.sample_rate
        self._window = int(window_seconds / self._frame_seconds)
        counts = [max(1, round(clip.num_frames / self._window)) for clip in store.clips]
        self._clip_of = np.repeat(np.arange(len(store)), counts)
        self._number = np.concatenate([np.arange(count) for count in counts])
        self._classes = class_table()

    def __len__(self) -> int:
        return len(self._clip_of)

    def lengths(self) -> list[float]:
        """Seconds of each stretch, at most."""
        clips = self._store.clips
        longest = self._window * self._frame_seconds
        return [min(longest, clips[index].seconds) for index in self._clip_of]

    def path(self, place: int) -> str:
        """The recording a stretch is of."""
        return self._store.clip(int(self._clip_of[place])).path

    def __getitem__(self, place: int) -> Stretch:
        index = int(self._clip_of[place])
        start = int(self._number[place]) * self._window
        return self._read(index, start, self._window)

    def example(self, place: int, rng: np.random.Generator) -> Stretch:
        """A stretch of any length from anywhere in the clip."""
        index = int(self._clip_of[place])
        num_frames = self._store.clip(index).num_frames
        share = rng.uniform(_SHORTEST_SHARE, 1.0)
        count = min(num_frames, max(1, round(share * self._window)))
        start = int(rng.integers(num_frames - count + 1))
        return self._read(index, start, count)._replace(draws=draw(self._augmentation, rng))

    def _read(self, index: int, start: int, count: int) -> Stretch:
        hop = self._store.hop_length
        wave = self._store.samples(index, start * hop, count * hop)
        sound = resample(Audio(wave, self._store.sample_rate), self._rate)
        durations = self._store.array("aligned_durations", index)
        phones = self._classes[self._store.array("aligned_symbols", index)]
        return Stretch(sound.samples, np.repeat(phones, durations)[start : start + count])


class PhoneModel(SoundModel):
    """A classifier that is asked at every step, not for the window."""

    def classify_mel(self, mel: Tensor) -> Tensor:
        """mel: (batch, 1, mels, frames); returns (batch, steps, phones) float32 logits."""
        assert isinstance(self.network, Tdnn)
        return self.network.score_steps(mel.to(self.network.head.weight.dtype)).float()


class PhoneStart:
    """The recipe `phones`."""

    name = "phones"
    best_metric = "error"
    keep_float32 = ("samples", "noise", "chances")

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        del seed
        self.data = PhoneData.from_dict(data)
        if "labels" in model:
            raise ConfigError("the labels are the phones", seen=model["labels"])
        shapes = {"architecture": "tdnn", **model, "labels": phone_labels()}
        self.shapes = ClassifierConfig.from_dict(shapes)
        if self.shapes.architecture != "tdnn":
            raise ConfigError(
                "only one architecture hears step by step",
                seen=self.shapes.architecture,
                allowed="tdnn",
            )
        self.config: dict[str, Any] = {
            "data": data,
            "model": model,
            "classifier": self.shapes.to_dict(),
        }

    @cached_property
    def _store(self) -> Store:
        return Store(Path(self.data.store))

    def build(self) -> nn.Module:
        """A fresh network."""
        return PhoneModel(self.shapes)

    def dataset(self, split: str) -> Stretches:
        """Stretches of "train" clips; of "valid" ones those of the first language."""
        wanted = self.data.languages if split == "train" else self.data.languages[:1]
        chosen = self._store.subset(lambda clip: clip.split == split and clip.language in wanted)
        if not len(chosen):
            raise DataError(
                f"no {split} clips", seen=self.data.store, allowed=", ".join(self.data.languages)
            )
        shapes = self.shapes
        return Stretches(chosen, shapes.window_seconds, shapes.sample_rate, self.data.augment)

    def collate(self, examples: Sequence[Stretch]) -> dict[str, Tensor]:
        """Windows with silence behind each stretch; its phones by frames of the store."""
        window = self.shapes.window_samples
        samples = torch.zeros(len(examples), window)
        longest = max(len(item.phones) for item in examples)
        phones = torch.full((len(examples), longest), _IGNORED)
        for row, item in enumerate(examples):
            sound = item.samples[:window]
            samples[row, : len(sound)] = torch.from_numpy(sound)
            phones[row, : len(item.phones)] = torch.from_numpy(item.phones)
        batch = {"samples": samples, "phones": phones}
        draws = [item.draws for item in examples if item.draws is not None]
        if len(draws) == len(examples):
            batch["chances"] = torch.from_numpy(np.stack([item.chances for item in draws]))
            batch["noise"] = torch.from_numpy(np.stack([item.noise for item in draws]))
        return batch

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Any]]:
        """Cross-entropy over the phones of all steps."""
        del step, generator
        logits, targets = self._score(model, batch)
        is_heard = targets != _IGNORED
        loss = F.cross_entropy(
            logits.flatten(0, 1),
            targets.flatten(),
            ignore_index=_IGNORED,
            label_smoothing=self.data.label_smoothing,
        )
        right = (logits.detach().argmax(2) == targets)[is_heard].float().mean()
        return loss, {"weight": is_heard.sum().float(), "accuracy": right}

    def evaluate(
        self, model: nn.Module, batches: Iterable[dict[str, Tensor]], device: torch.device
    ) -> dict[str, float]:
        """Share of steps whose phone is heard wrong, in whole windows, and their loss."""
        losses, wrong, count = 0.0, 0, 0
        for batch in batches:
            with torch.inference_mode():
                logits, targets = self._score(model, {k: v.to(device) for k, v in batch.items()})
            is_heard = targets != _IGNORED
            losses += float(F.cross_entropy(logits[is_heard], targets[is_heard], reduction="sum"))
            wrong += int((logits.argmax(2) != targets)[is_heard].sum())
            count += int(is_heard.sum())
        return {"error": wrong / count, "loss": losses / count}

    def _score(self, model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(batch, steps, phones) logits and (batch, steps) targets."""
        assert isinstance(model, PhoneModel)
        mel, speed = self._heard(model, batch)
        logits: Tensor = model(mel)
        return logits, self._targets(batch["phones"], logits.shape[1], speed)

    @torch.no_grad()
    def _heard(self, model: PhoneModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Log-mel (batch, 1, mels, frames), changed where draws came, and speed (batch,)."""
        samples, chances = batch["samples"], batch.get("chances")
        if chances is None:
            return model.features(samples), samples.new_ones(len(samples))
        # Uneven time would move the phones away from where the alignment has them.
        voice = replace(self.data.voice or _SAME_VOICE, stretch=0.0)
        change = self.data.augment
        samples = change_speed(samples, chances, voice)
        samples = change_samples(samples, chances, batch["noise"], change)
        mel = change_mel(model.features(samples), chances, voice)
        return hide_stripes(mel, chances, change), speed_factor(chances, voice)

    def _targets(self, phones: Tensor, num_steps: int, speed: Tensor) -> Tensor:
        """(batch, steps) the phone at the middle of each step, in the time of the recording."""
        steps = torch.arange(num_steps, device=phones.device)
        middle = steps * STACKED + (STACKED - 1) / 2  # frames of the log-mel
        seconds = middle * self.shapes.hop_length / self.shapes.sample_rate
        frame_seconds = self._store.hop_length / self._store.sample_rate
        places = (seconds * speed[:, None] / frame_seconds).long()
        is_inside = places < phones.shape[1]
        found = phones.gather(1, places.clamp(max=phones.shape[1] - 1))
        return torch.where(is_inside, found, _IGNORED)
