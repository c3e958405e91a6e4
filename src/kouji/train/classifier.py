"""The recipe of sound classifiers: clips by folds, augmented on the device, to class probabilities.

Nothing in it depends on how processes share a batch out: statistics of a batch are taken over all
of them, and randomness is drawn per example. Validation clips are heard as `kouji classify` hears
them. Knows no command line and no server.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.errors import ConfigError, DataError, ModelError
from kouji.models.classifier import PHONES_NAME, SHIPPED_NAME
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.model import SoundModel
from kouji.models.classifier.weights import PHONES, SHIPPED, WEIGHTS_FILE, load_classifier
from kouji.train.checkpoint import start_from
from kouji.train.classifier_data import ClassifierData
from kouji.train.confusion import Confusion
from kouji.train.monitor import Monitor
from kouji.train.overfitting import OverfittingWatch
from kouji.train.sound_augment import (
    NONE,
    OTHER_PLACE,
    PLACE,
    Augmentation,
    change_samples,
    cut_crops,
    hide_stripes,
    mixture,
)
from kouji.train.sound_clips import SoundClips
from kouji.train.sound_examples import (
    Crop,
    CropData,
    Split,
    WindowData,
    Windows,
    collate_crops,
    collate_windows,
    split_by_folds,
)
from kouji.train.sound_store import open_sounds
from kouji.train.voice_augment import change_mel, change_speed

_PROBE_CLIPS = 48  # training clips measured as they are, beside the validation clips
_WINDOWS_AT_ONCE = 64
_HIGHEST_DROPOUT = 0.8


class Classifier:
    """The recipe `classifier`."""

    name = "classifier"
    best_metric = "error"
    is_joint = True  # statistics of the whole batch
    keep_float32 = ("samples", "other", "noise", "chances", "share", "windows", "weights")

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        self.data = ClassifierData.from_dict(data)
        if "labels" in model:
            raise ConfigError("the labels of a classifier come from its data", seen=model["labels"])
        ClassifierConfig.from_dict({**model, "labels": ("a", "b")})  # wrong keys are said at once
        self._model_block = dict(model)
        self.config: dict[str, Any] = {"data": data, "model": model}
        self.seed = seed
        rule = self.data.overfitting
        self.watch = None if rule is None else OverfittingWatch(rule)
        self.confusion: Confusion | None = None
        self.figures: dict[str, float] = {}

    # --- data

    @cached_property
    def shapes(self) -> ClassifierConfig:
        """The architecture, with the labels of the data."""
        return ClassifierConfig.from_dict({**self._model_block, "labels": self.clips.labels})

    @cached_property
    def clips(self) -> SoundClips:
        """All clips, of every fold."""
        rate = ClassifierConfig.from_dict({**self._model_block, "labels": ("a", "b")}).sample_rate
        block = self.data
        clips = open_sounds(
            block.folder,
            rate,
            layout=block.layout,
            subset=block.subset,
            group_by=block.group_by,
        )
        if len(clips.labels) < 2:
            raise DataError(
                "a classifier needs two classes or more", seen=clips.labels, cure="check the folder"
            )
        return clips

    @cached_property
    def split(self) -> Split:
        """Which clips teach and which are held out."""
        return split_by_folds(self.clips, self.data.valid)

    def dataset(self, split: str) -> CropData | WindowData:
        """Crops to learn from ("train"), or whole clips to be measured on ("valid")."""
        window = self.shapes.window_samples
        if split == "train":
            return CropData(self.clips, self.split.train, window, self.data.augment)
        if not self.split.valid:
            raise ConfigError(
                "no fold is held out, so nothing can be evaluated",
                seen=f"valid: {list(self.split.held_out)}",
                cure="set data.valid, or evaluate_every and evaluate_epochs to 0",
            )
        return WindowData(self.clips, self.split.valid, window)

    def collate(self, examples: Sequence[Any]) -> dict[str, Tensor]:
        """Crops or windows to a batch."""
        if isinstance(examples[0], Windows):
            return collate_windows(examples)
        assert isinstance(examples[0], Crop)
        return collate_crops(examples)

    # --- learning

    def build(self) -> nn.Module:
        """The classifier, with its last layer for the labels of the data."""
        self.config = {**self.config, "classifier": self.shapes.to_dict()}
        model = SoundModel(self.shapes)
        model.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return model

    def start_from(self, model: nn.Module, source: str) -> str:
        """Take over the weights of a run, a checkpoint, a classifier's folder or file, or shipped.

        The last layer begins anew unless the labels are the same ones in the same order.
        """
        path = {SHIPPED_NAME: SHIPPED, PHONES_NAME: PHONES}.get(source, Path(source))
        if path.name != WEIGHTS_FILE and not path.is_dir():
            return start_from(model, source)  # bare tensors, which say nothing of labels
        found = load_classifier(path if path.is_dir() else path.parent)
        own = model.state_dict()
        is_same = found.config.labels == self.shapes.labels
        fitting = {
            name: value
            for name, value in found.model.state_dict().items()
            if name in own
            and own[name].shape == value.shape
            and (is_same or not name.startswith("network.head."))
        }
        if not fitting:
            theirs = found.config
            raise ModelError(
                "nothing in init_from fits this model",
                seen=source,
                allowed=f"model.architecture {theirs.architecture}, model.width {theirs.width}",
            )
        model.load_state_dict(fitting, strict=False)
        head = "" if is_same else "; other labels, so the last layer is a fresh one"
        return f"started from {source}: {len(fitting)} of {len(own)} tensors fit{head}"

    @cached_property
    def _class_weights(self) -> Tensor:
        """(classes,) what a clip of each class counts in the loss."""
        num_classes = len(self.shapes.labels)
        labels = torch.tensor([self.clips.label_id(index) for index in self.split.train])
        counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)
        if not self.data.balanced:
            return torch.ones(num_classes)
        return len(labels) / (num_classes * counts.float())

    def _augmentation(self, *, is_training: bool) -> Augmentation:
        if not is_training:
            return NONE
        return self.data.augment.stronger(self.watch.strength if self.watch else 1.0)

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Any]]:
        """Cross-entropy over the classes; what is random was drawn with each example."""
        del step, generator
        assert isinstance(model, SoundModel)
        is_training = model.training and "chances" in batch
        self._set_dropout(model)
        mel, targets = self._heard(model, batch, self._augmentation(is_training=is_training))
        logits = model(mel)
        smoothing = self.data.label_smoothing + (self.watch.label_smoothing if self.watch else 0.0)
        losses = F.cross_entropy(
            logits, targets, reduction="none", label_smoothing=min(smoothing, 0.9)
        )
        weights = targets @ self._class_weights.to(targets.device)
        total = weights.sum()
        is_right = (logits.detach().argmax(1) == targets.argmax(1)).float()
        accuracy = (is_right * weights).sum() / total
        return (losses * weights).sum() / total, {"weight": total, "accuracy": accuracy}

    def _set_dropout(self, model: SoundModel) -> None:
        extra = self.watch.dropout if self.watch else 0.0
        dropout = getattr(model.network, "dropout", None)
        if isinstance(dropout, nn.Dropout):
            dropout.p = min(_HIGHEST_DROPOUT, self.shapes.dropout + extra)

    @torch.no_grad()
    def _heard(
        self, model: SoundModel, batch: dict[str, Tensor], change: Augmentation
    ) -> tuple[Tensor, Tensor]:
        """(batch, 1, mels, frames) log-mel and (batch, classes) targets, changed as asked."""
        num_classes, window = len(self.shapes.labels), self.shapes.window_samples
        count = len(batch["samples"])
        chances = batch.get("chances", torch.zeros(count, 2, device=batch["samples"].device))
        crops = cut_crops(batch["samples"], batch["num_samples"], window, chances[:, PLACE], change)
        voice = None if change is NONE else self.data.voice
        if voice:
            crops = change_speed(crops, chances, voice)
        noise = batch.get("noise", chances[:, :0])
        mel = model.features(change_samples(crops, chances, noise, change))
        targets = F.one_hot(batch["label"], num_classes).to(mel.dtype)
        if change.mixup and "other" in batch:
            own = mixture(chances, batch["share"], change)
            mel, targets = self._mixed(model, batch, change, own, mel, targets)
        if voice:
            mel = change_mel(mel, chances, voice)
        if change.time_masks or change.frequency_masks:
            mel = hide_stripes(mel, chances, change)
        return mel, targets

    def _mixed(
        self,
        model: SoundModel,
        batch: dict[str, Tensor],
        change: Augmentation,
        own: Tensor,
        mel: Tensor,
        targets: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Mixup of the rows whose share `own` is below 1; the partners of others are not heard."""
        rows = (own < 1).nonzero()[:, 0]
        if not len(rows):
            return mel, targets
        places = batch["chances"][rows, OTHER_PLACE]
        sounds, counts = batch["other"][rows], batch["num_other"][rows]
        other = cut_crops(sounds, counts, self.shapes.window_samples, places, change)
        share = own[rows]
        mixed = torch.lerp(model.features(other), mel[rows], share[:, None, None, None])
        labels = F.one_hot(batch["other_label"][rows], targets.shape[1]).to(targets.dtype)
        labels = torch.lerp(labels, targets[rows], share[:, None])
        return mel.index_copy(0, rows, mixed), targets.index_copy(0, rows, labels)

    # --- measuring

    def evaluate(
        self, model: nn.Module, batches: Iterable[dict[str, Tensor]], device: torch.device
    ) -> dict[str, float]:
        """Error, accuracy, loss and macro F1 of whole clips, and the gap to training clips."""
        labels, probabilities = _hear_all(model, batches)
        heard = probabilities.argmax(1)
        self.confusion = Confusion.of(self.shapes.labels, labels.numpy(), heard.numpy())
        accuracy = self.confusion.accuracy
        figures = {
            "error": 1.0 - accuracy,
            "accuracy": accuracy,
            "loss": _mean_loss(labels, probabilities),
            "macro_f1": self.confusion.macro_f1,
        }
        if self.watch is not None:
            probe = _hear_all(model, self._probe(device))
            figures["train_loss"] = _mean_loss(*probe)
            figures["train_accuracy"] = float((probe[1].argmax(1) == probe[0]).float().mean())
        self.figures = figures
        return figures

    def _probe(self, device: torch.device) -> Iterable[dict[str, Tensor]]:
        """Some training clips as they are: the same ones each time, spread over all of them."""
        indices = self.split.train
        count = min(_PROBE_CLIPS, len(indices))
        chosen = [indices[number * len(indices) // count] for number in range(count)]
        data = WindowData(self.clips, chosen, self.shapes.window_samples)
        for start in range(0, count, 16):
            examples = [data[place] for place in range(start, min(start + 16, count))]
            yield {name: value.to(device) for name, value in collate_windows(examples).items()}

    def observe(self, step: int, figures: dict[str, float]) -> str | None:
        """Look for validation falling behind training, and answer."""
        if self.watch is None or "train_loss" not in figures:
            return None
        return self.watch.observe(step, figures["train_loss"], figures["loss"])

    @property
    def is_done(self) -> bool:
        """Whether the last answer to overfitting has been given: the end."""
        return self.watch is not None and self.watch.is_done

    def state(self) -> dict[str, Any]:
        """What a resumed run has to know, and which classifier it is."""
        return {
            "classifier": self.shapes.to_dict(),
            "watch": None if self.watch is None else self.watch.state(),
            "figures": self.figures,
            "confusion": None if self.confusion is None else self.confusion.counts.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; ConfigError where it is of another classifier."""
        own = json.loads(json.dumps(self.shapes.to_dict()))
        before = state.get("classifier", own)
        if differing := sorted(key for key in own if own[key] != before.get(key)):
            raise ConfigError(
                "the run in this folder learns another classifier",
                seen=", ".join(f"{key}: {before.get(key)}, now {own[key]}" for key in differing),
                cure="choose another folder for the run, or remove what is in it",
            )
        if self.watch is not None and state["watch"] is not None:
            self.watch.restore(state["watch"])
        self.figures = dict(state["figures"])
        counts = state["confusion"]
        self.confusion = None if counts is None else Confusion(self.shapes.labels, counts)

    # --- told

    def draw(self, monitor: Monitor, step: int) -> None:
        """Confusion matrix and F1 of each class for TensorBoard."""
        if self.confusion is not None and monitor.has_board:
            monitor.picture("confusion", self.confusion.picture(), step)
            monitor.picture("f1_by_class", self.confusion.f1_picture(), step)

    def report(self) -> dict[str, Any]:
        """JSON: data, last figures by class, and what was done about overfitting."""
        sounds = self.clips.set
        return {
            "labels": list(self.shapes.labels),
            "clips": {"train": len(self.split.train), "valid": len(self.split.valid)},
            "held_out": list(self.split.held_out),
            "unreadable": [f"{fault.path}: {fault.reason}" for fault in sounds.faults],
            "warnings": list(sounds.warnings),
            "balance": sounds.balance().as_dict(),
            "figures": self.figures,
            "classes": None if self.confusion is None else self.confusion.as_dict(),
            "overfitting": None if self.watch is None else self.watch.report(),
            "summary": self._summary(),
        }

    def _summary(self) -> list[str]:
        if self.confusion is None:
            return []
        figures = "  ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        return [f"last evaluation: {figures}", *(self.watch.summary() if self.watch else ())]


def _hear_all(model: nn.Module, batches: Iterable[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Labels (clips,) and probabilities (clips, classes) on the CPU, windows averaged."""
    labels, heard = [], []
    for batch in batches:
        parts = torch.split(batch["windows"], _WINDOWS_AT_ONCE)
        windows = torch.cat([model(part).softmax(dim=1) for part in parts])
        weights = batch["weights"][:, None]
        sums = windows.new_zeros(len(batch["label"]), windows.shape[1])
        sums.index_add_(0, batch["clip"], windows * weights)
        heard.append((sums / sums.sum(dim=1, keepdim=True)).cpu())
        labels.append(batch["label"].cpu())
    if not labels:
        raise DataError("no clip could be evaluated", cure="see bad_clips.txt")
    return torch.cat(labels), torch.cat(heard)


def _mean_loss(labels: Tensor, probabilities: Tensor) -> float:
    picked = probabilities.gather(1, labels[:, None]).clamp(min=1e-9)
    return float(-picked.log().mean())
