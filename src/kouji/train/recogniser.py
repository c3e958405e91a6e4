"""The recipe of the phone recogniser: clips of a store, augmented, to CTC loss.

It learns from few voices and must listen to synthetic ones it never heard, so every
clip is made another one each time it is read (kouji.train.augment). Trained on
recordings only; nothing of a synthesiser enters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kouji.errors import ConfigError, TrainingError
from kouji.models.recogniser import (
    Recogniser,
    RecogniserConfig,
    phone_classes,
    read_mandarin,
    reference_classes,
    save_recogniser,
)
from kouji.text.edits import Errors, count_errors, pool
from kouji.text.phones import SYMBOL_IDS
from kouji.train.augment import augment
from kouji.train.checkpoint import CheckpointStore, export_weights
from kouji.train.store import Store

FloatArray = NDArray[np.float32]
TONE_WEIGHT = 0.5  # share of the loss that cares about tones


@dataclass(frozen=True)
class RecogniserData:
    """The `data:` block of a recipe.

    store:     folder of the prepared store
    languages: which clips teach
    limits:    most clips of a language per epoch set, drawn once by seed; none: all
    augment:   off for overfitting tests
    """

    store: str = ""
    languages: tuple[str, ...] = ("zh", "zh-pinyin", "en")
    limits: dict[str, int] = field(default_factory=dict)
    augment: bool = True

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RecogniserData:
        """Read the block; ConfigError for an unknown key or a missing store."""
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(
                    f"unknown key {key!r} in data", seen=values[key], allowed=", ".join(known)
                )
        if not values.get("store"):
            raise ConfigError(
                "the recogniser needs data", cure="set data.store to a prepared store"
            )
        return cls(**{**values, "languages": tuple(values.get("languages", cls.languages))})


class Example(NamedTuple):
    """One clip: `mel` (frames, mels) natural log, `classes` to hear, language."""

    mel: FloatArray
    classes: list[int]
    is_mandarin: bool


class PhoneClips:
    """The clips of a store a recogniser learns from or is measured on."""

    def __init__(self, store: Store, *, augment: bool) -> None:
        self._store, self._augment = store, augment

    def __len__(self) -> int:
        return len(self._store)

    def lengths(self) -> Sequence[float]:
        """Seconds per clip."""
        return [clip.seconds for clip in self._store.clips]

    def path(self, index: int) -> str:
        """Path of the recording, for reports."""
        return self._store.clip(index).path

    def __getitem__(self, index: int) -> Example:
        mel = self._store.mel(index).astype(np.float32)
        classes = reference_classes(self._store.phones(index), self._store.tones(index))
        return Example(mel, classes, self._store.clip(index).language != "en")

    def example(self, index: int, rng: np.random.Generator) -> Example:
        """The clip as heard this time: augmented with `rng` where that is wanted."""
        clip = self[index]
        return clip._replace(mel=augment(clip.mel, rng)) if self._augment else clip


class RecogniserRecipe:
    """Model, data and loss of the phone recogniser, for `kouji.train.loop`."""

    name = "recogniser"
    keep_float32 = ("mel",)
    best_metric = "per"

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        """Check both blocks of the recipe; ConfigError names a wrong key."""
        self._data = RecogniserData.from_dict(data)
        self._config = RecogniserConfig.from_dict(model)
        self._seed = seed

    def build(self) -> nn.Module:
        """A fresh network."""
        return Recogniser(self._config)

    def dataset(self, split: str) -> PhoneClips:
        """Clips of "train"; for "valid" hanzi clips only: Chinese is what is measured."""
        store = Store(Path(self._data.store))
        if split == "train":
            store = _limited(store, self._data, self._seed)
        else:
            store = store.subset(lambda clip: clip.split == split and clip.language == "zh")
        if not len(store):
            raise TrainingError(
                f"no {split} clips", seen=self._data.store, allowed=str(self._data.languages)
            )
        return PhoneClips(store, augment=split == "train" and self._data.augment)

    def collate(self, examples: list[Example]) -> dict[str, Tensor]:
        """Pad clips to one batch; targets are padded with the blank."""
        num_frames = torch.tensor([len(example.mel) for example in examples])
        num_classes = torch.tensor([len(example.classes) for example in examples])
        mel = torch.full((len(examples), int(num_frames.max()), examples[0].mel.shape[1]), 0.0)
        classes = torch.zeros(len(examples), int(num_classes.max()), dtype=torch.long)
        for row, example in enumerate(examples):
            mel[row, : len(example.mel)] = torch.from_numpy(example.mel)
            classes[row, : len(example.classes)] = torch.tensor(example.classes, dtype=torch.long)
        return {
            "mel": mel,
            "num_frames": num_frames,
            "classes": classes,
            "num_classes": num_classes,
            "is_mandarin": torch.tensor([example.is_mandarin for example in examples]),
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, float | Tensor]]:
        """CTC per phone, half of it over phones with tones, half without."""
        del step, generator
        network = _network(model)
        logits, num_outputs = model(batch["mel"], batch["num_frames"])
        toned = _ctc(logits.float().log_softmax(-1), batch["classes"], num_outputs, batch)
        symbols = _class_symbols().to(logits.device)[batch["classes"]]
        plain = _ctc(network.symbol_scores(logits), symbols, num_outputs, batch)
        loss = TONE_WEIGHT * toned + (1 - TONE_WEIGHT) * plain
        weight = batch["num_classes"].sum().float()
        return loss, {"weight": weight, "toned": toned.detach(), "plain": plain.detach()}

    def evaluate(
        self, model: nn.Module, batches: Iterable[dict[str, Tensor]], device: torch.device
    ) -> dict[str, float]:
        """Phone error rate (tones ignored) and toned phone error rate on Chinese clips."""
        to_symbols = _network(model).get_buffer("to_symbols")
        plain, toned = [], []
        for batch in batches:
            on_device = {name: tensor.to(device) for name, tensor in batch.items()}
            with torch.inference_mode():
                logits, num_outputs = model(on_device["mel"], on_device["num_frames"])
            for row in range(len(logits)):
                heard = read_mandarin(logits[row, : num_outputs[row]], to_symbols)
                wanted = batch["classes"][row, : batch["num_classes"][row]].tolist()
                said = [phone_classes()[index - 1] for index in wanted]
                toned.append(count_errors(said, heard))
                plain.append(count_errors([p.symbol for p in said], [p.symbol for p in heard]))
        return {"per": _rate(plain), "toned_per": _rate(toned), "loss": _rate(plain)}


def _network(model: nn.Module) -> Recogniser:
    """The recogniser inside whatever wraps it for several processes."""
    inner = getattr(model, "module", model)
    assert isinstance(inner, Recogniser)
    return inner


def _rate(errors: list[Errors]) -> float:
    return pool(errors).rate


def _ctc(scores: Tensor, targets: Tensor, num_outputs: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """CTC loss per phone; a clip with fewer outputs than phones counts as zero."""
    losses = nn.functional.ctc_loss(
        scores.transpose(0, 1),
        targets,
        num_outputs,
        batch["num_classes"],
        reduction="sum",
        zero_infinity=True,
    )
    return losses / batch["num_classes"].sum().clamp_min(1)


def _class_symbols() -> Tensor:
    """(classes,) symbol id of every class, 0 for the blank."""
    return torch.tensor([0, *(SYMBOL_IDS[phone.symbol] for phone in phone_classes())])


def _limited(store: Store, data: RecogniserData, seed: int) -> Store:
    """The train clips of the wanted languages, at most `limits` of each, drawn by seed."""
    rng = np.random.default_rng(seed)
    kept: list[int] = []
    for language in data.languages:
        rows = [
            row
            for row, clip in zip(store.rows, store.clips, strict=True)
            if clip.split == "train" and clip.language == language
        ]
        limit = data.limits.get(language, len(rows))
        kept.extend(rng.permutation(np.asarray(rows, np.int64))[:limit].tolist())
    return store.select(sorted(kept))


def export_recogniser(run: Path, folder: Path, model: dict[str, Any] | None = None) -> Path:
    """Write the newest weights of a run where `kouji evaluate` finds them.

    run:     the `out` folder of a recogniser recipe
    folder:  receives recogniser.safetensors (float16) and recogniser.json
    model:   the recipe's `model:` block
    returns: the checkpoint taken; its averaged weights if the run kept them
    raises:  TrainingError if the run has no checkpoint
    """
    steps = CheckpointStore(run / "checkpoints", keep_last=1).steps()
    if not steps:
        raise TrainingError("the run has no checkpoint", seen=run, cure="train first")
    network = Recogniser(RecogniserConfig.from_dict(model or {}))
    network.load_state_dict(export_weights(steps[-1]))
    save_recogniser(network, folder, {"checkpoint": steps[-1].name})
    return steps[-1]
