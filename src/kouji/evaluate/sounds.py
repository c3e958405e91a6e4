"""How well a classifier hears a labelled collection: every clip through the engine, then figures.

Clips of folds the classifier was not trained on, where that is known. Knows no command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kouji.errors import ConfigError, DataError, KoujiError, ModelError
from kouji.train.confusion import Confusion
from kouji.types import Audio

if TYPE_CHECKING:
    from kouji.classifying import SoundClassifier
    from kouji.train.sound_clips import SoundClips

_SHOWN = 5


@dataclass(frozen=True)
class SoundScore:
    """What was heard.

    folds:  whose clips were heard; empty: all clips
    faults: clips that could not be heard, and why
    notes:  what a reader of the figures should know
    """

    confusion: Confusion
    folds: tuple[str, ...]
    faults: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "folds": list(self.folds),
            **self.confusion.as_dict(),
            "unreadable": [f"{path}: {reason}" for path, reason in self.faults],
            "notes": list(self.notes),
        }

    def save(self, folder: Path) -> tuple[Path, Path]:
        """Write the report as JSON and the confusion matrix as PNG; returns both files."""
        folder.mkdir(parents=True, exist_ok=True)
        report = folder / "evaluation.json"
        temporary = report.with_name(report.name + ".tmp")
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False) + "\n"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(report)
        return report, self.confusion.save_picture(folder / "confusion.png")


def score_classifier(
    classifier: SoundClassifier,
    clips: SoundClips,
    folds: Sequence[str] | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> SoundScore:
    """Hear the clips of some folds.

    folds:       None: those the classifier's training held out of this data; all, where nothing
                 is known of it
    on_progress: called with (clips heard, clips in all)
    raises:      DataError for labels the classifier does not know or no clips, ConfigError for a
                 fold there is not
    """
    places = _places(classifier.labels, clips)
    chosen, notes = _choose_folds(classifier.metadata, clips, folds)
    indices = [n for n in range(len(clips)) if not chosen or clips.fold(n) in chosen]
    if not indices:
        raise DataError("there are no clips to hear", seen=f"folds {', '.join(chosen)}")
    sources = (Audio(clips.samples(n), clips.sample_rate) for n in indices)
    confusion = Confusion(classifier.labels)
    faults = [(str(fault.path), fault.reason) for fault in clips.set.faults]
    answers: Iterator[Any] = classifier.classify_each(sources)
    for number, (index, answer) in enumerate(zip(indices, answers, strict=True), start=1):
        if isinstance(answer, KoujiError):
            faults.append((str(clips.path(index)), str(answer)))
        else:
            heard = int(answer.probabilities.argmax())
            confusion.add([places[clips.label_id(index)]], [heard])
        if on_progress is not None:
            on_progress(number, len(indices))
    return SoundScore(confusion, chosen, tuple(faults), notes)


def join_scores(scores: Sequence[SoundScore]) -> SoundScore:
    """Several as one: the folds of a cross-validation, each heard by who was not taught it."""
    total = scores[0].confusion
    for score in scores[1:]:
        total = total + score.confusion
    folds = tuple(dict.fromkeys(fold for score in scores for fold in score.folds))
    faults = tuple(dict.fromkeys(fault for score in scores for fault in score.faults))
    notes = tuple(dict.fromkeys(note for score in scores for note in score.notes))
    return SoundScore(total, folds, faults, notes)


def _places(labels: tuple[str, ...], clips: SoundClips) -> list[int]:
    """Where each label of the data stands among those of the classifier."""
    unknown = [label for label in clips.labels if label not in labels]
    if unknown:
        raise DataError(
            "the data has labels this classifier does not know",
            seen=", ".join(unknown[:_SHOWN]),
            allowed=", ".join(labels),
            cure="choose other data, with --subset where it is a part, or another model",
        )
    return [labels.index(label) for label in clips.labels]


def _choose_folds(
    metadata: dict[str, Any], clips: SoundClips, wanted: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The folds to hear, and what to say of that."""
    held_out = _held_out(metadata, clips)
    for fold in wanted or ():
        if fold not in clips.folds:
            allowed = ", ".join(clips.folds)
            raise ConfigError("there is no such fold", seen=fold, allowed=allowed)
    if wanted:
        seen = [fold for fold in wanted if held_out is not None and fold not in held_out]
        note = f"this model was taught fold {', '.join(seen)}, if this is the data it learned from"
        return tuple(dict.fromkeys(wanted)), ((note,) if seen else ())
    if held_out is None:
        return (), ("nothing is known of what this model was taught: all clips were heard",)
    if not held_out:
        return (), ("this model held nothing out: it may have been taught these very clips",)
    missing = [fold for fold in held_out if fold not in clips.folds]
    if missing:
        raise ConfigError(
            "the folds this model held out are not in the data",
            seen=", ".join(missing),
            allowed=", ".join(clips.folds),
            cure="name the folds to hear with --fold, or --group-by as in training",
        )
    return held_out, ()


def _held_out(metadata: dict[str, Any], clips: SoundClips) -> tuple[str, ...] | None:
    """The folds a model's training left out; None where it does not say what it was taught."""
    taught = metadata.get("data")
    if not isinstance(taught, dict):
        return None
    valid = taught.get("valid")
    if valid is None:
        return clips.folds[-1:]  # the recipe's rule
    return (str(valid),) if isinstance(valid, str | int) else tuple(str(fold) for fold in valid)


def runs_below(folder: Path) -> list[Path]:
    """The runs of a cross-validation in a folder; none where it is a single run or no run."""
    if (folder / "checkpoints").is_dir():
        return []
    return sorted(path.parent for path in folder.glob("fold-*-seed-*/checkpoints"))


def data_of(metadata: dict[str, Any]) -> dict[str, Any]:
    """The data block a classifier was taught with.

    raises: ModelError where the model does not say
    """
    block = metadata.get("data")
    if not isinstance(block, dict) or not (block.get("folder") or block.get("store")):
        raise ModelError(
            "this model does not say what it was taught with", cure="name the data to hear"
        )
    return block
