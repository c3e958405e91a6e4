"""A labelled collection of sounds as a record: clips with class and fold, and what is amiss.

Folds a collection brings are kept as they are; only where it brings none are folds made here,
the same ones every time, and a warning says so. Layouts are read by `sound_layouts`; damaged
files become faults, never an abort, unless most of the collection is damaged.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kouji.audio.load import load_audio
from kouji.errors import AudioError, DataError, UsageError
from kouji.train.sound_balance import Balance, count_classes
from kouji.train.sound_folds import fold_order, make_folds, named, torn_apart
from kouji.train.sound_layouts import ListedSound, list_sounds

GroupBy = Literal["fold", "speaker"]
_SHOWN = 3  # examples named in a warning


@dataclass(frozen=True)
class SoundClip:
    """One usable clip.

    fold:      the part of a cross-validation it belongs to; None: in every training set
    seconds:   0 where the sound was not looked at
    name:      path below the collection's folder, with forward slashes
    recording: what it was cut from; clips of one recording must not be split
    speaker:   who is heard, empty where nobody says so
    """

    path: Path
    label: str
    fold: str | None
    seconds: float
    name: str = ""
    recording: str = ""
    speaker: str = ""


@dataclass(frozen=True)
class Unreadable:
    """A clip that is listed but cannot be used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class SoundSet:
    """A collection: clips in the order of their names, and class names in the network's order.

    has_own_folds: the folds were made here, since the collection brings none
    """

    clips: tuple[SoundClip, ...]
    labels: tuple[str, ...]
    layout: str
    faults: tuple[Unreadable, ...] = ()
    warnings: tuple[str, ...] = ()
    has_own_folds: bool = False

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of the folds: numbers in their order, then names."""
        return tuple(sorted({clip.fold for clip in self.clips if clip.fold}, key=fold_order))

    def balance(self) -> Balance:
        """Clips and seconds of each class, over all and in each fold."""
        facts = [(clip.label, clip.fold, clip.seconds) for clip in self.clips]
        return count_classes(facts, self.labels, self.folds)


def read_sound_set(
    folder: str | Path,
    *,
    layout: str = "auto",
    subset: str | None = None,
    group_by: GroupBy = "fold",
    decode: bool = True,
) -> SoundSet:
    """Read a collection: UrbanSound8K, ESC-50, our manifest, or a folder per class.

    layout:   urbansound8k, esc50, manifest, folders, or auto
    subset:   only clips below this folder (esc10, fsdd), or ESC-50's esc10 flag
    group_by: what is held out together: the collection's folds, or one speaker at a time
    decode:   look into every file; without it `seconds` is 0 and only missing files are faults
    raises:   UsageError for wrong arguments, DataError where nothing is found or most is damaged
    """
    found = find_sounds(folder, layout=layout, subset=subset)
    return assemble(found, measure(found.rows, decode=decode), group_by)


@dataclass(frozen=True)
class Found:
    """What a folder lists, each file once, before any is looked into.

    num_listed: rows of the table, those with a fault too
    """

    layout: str
    rows: tuple[ListedSound, ...]
    num_listed: int
    faults: tuple[Unreadable, ...] = ()
    warnings: tuple[str, ...] = ()


def find_sounds(folder: str | Path, *, layout: str = "auto", subset: str | None = None) -> Found:
    """List a collection; arguments and errors as for `read_sound_set`."""
    listing = list_sounds(Path(folder), layout, subset)
    rows, faults, warnings = _drop_repeats(listing.rows)
    where = "in no class folder" if listing.layout == "folders" else "not in the table"
    warnings += named(f"{where} and left out", sorted(listing.unlisted), "files")
    if listing.layout == "folders" and all(row.fold is None for row in rows):
        classes = {row.label for row in rows}
        empty = sorted({each for each in listing.folders if "/" not in each} - classes)
        warnings += named("with no sound in them", empty, "class folders")
    return Found(listing.layout, tuple(rows), len(listing.rows), tuple(faults), tuple(warnings))


def assemble(found: Found, measured: Sequence[float | str], group_by: GroupBy) -> SoundSet:
    """The collection of what turned out usable.

    measured: of each of `found.rows`, its seconds or why it cannot be used
    """
    if group_by not in ("fold", "speaker"):
        raise UsageError("unknown grouping", seen=group_by, allowed="fold, speaker")
    pairs = list(zip(found.rows, measured, strict=True))
    faults = [*found.faults]
    faults += [Unreadable(row.path, told) for row, told in pairs if isinstance(told, str)]
    check_most_usable(faults, found.num_listed)
    good = [(row, told) for row, told in pairs if not isinstance(told, str)]
    rows, own = _fold_rows([row for row, _ in good], group_by)
    lost = sorted({row.label for row in found.rows} - {row.label for row in rows})
    warnings = [*found.warnings, *named("without a usable clip and left out", lost, "classes")]
    warnings += [own] if own else []
    homeless = [row.name for row in rows if row.fold is None]
    warnings += named("without a fold, trained on in every round", homeless)
    warnings += torn_apart([(row.name, row.path, row.recording, row.fold) for row in rows])
    clips = tuple(
        SoundClip(row.path, row.label, row.fold, seconds, row.name, row.recording, row.speaker)
        for row, (_, seconds) in sorted(zip(rows, good, strict=True), key=lambda p: p[0].name)
    )
    return SoundSet(
        clips, _labels(rows), found.layout, tuple(faults), tuple(warnings), has_own_folds=bool(own)
    )


def _fold_rows(rows: list[ListedSound], group_by: GroupBy) -> tuple[list[ListedSound], str]:
    """Rows with the folds asked for, and, where they had to be made here, what to say of them."""
    if group_by == "speaker":
        _check_speakers(rows)
        return [replace(row, fold=row.speaker) for row in rows], ""
    if any(row.fold is not None for row in rows):
        return rows, ""
    folds, told = make_folds([(row.label, row.recording) for row in rows])
    return [replace(row, fold=fold) for row, fold in zip(rows, folds, strict=True)], told


def check_most_usable(faults: Sequence[Unreadable], num_listed: int) -> None:
    """Raise DataError when more than half of the clips cannot be used: then it is no accident."""
    if 2 * len(faults) > num_listed:
        shown = "; ".join(f"{fault.path}: {fault.reason}" for fault in faults[:_SHOWN])
        raise DataError(
            "most clips cannot be used",
            seen=f"{len(faults)} of {num_listed}: {shown}",
            allowed="at least half of the clips",
            cure="check the folder and its layout",
        )


def _drop_repeats(
    rows: Iterable[ListedSound],
) -> tuple[list[ListedSound], list[Unreadable], list[str]]:
    """Each file once; rows that contradict each other, and rows with a fault, become faults."""
    by_path: dict[Path, list[ListedSound]] = defaultdict(list)
    faults = []
    for row in rows:
        if row.fault:
            faults.append(Unreadable(row.path, row.fault))
        else:
            by_path[row.path].append(row)
    kept, repeated = [], []
    for path, same in by_path.items():
        if len({(row.label, row.fold) for row in same}) > 1:
            said = " and ".join(sorted({f"{row.label} in fold {row.fold}" for row in same}))
            faults += [Unreadable(path, f"listed as {said}")] * len(same)
            continue
        kept.append(same[0])
        repeated += [same[0].name] * (len(same) > 1)
    return kept, faults, named("listed more than once, kept once", repeated)


def measure(rows: Sequence[ListedSound], *, decode: bool) -> list[float | str]:
    """Seconds of each row's file, or why it cannot be used.

    Threads are enough: decoders let go of Python while they work.
    """

    def look(row: ListedSound) -> float | str:
        if not row.path.is_file():
            return "the file is missing"
        return seconds_of(row.path) if decode else 0.0

    if not decode:
        return [look(row) for row in rows]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(look, rows))


def seconds_of(path: Path) -> float | str:
    """Duration of a sound file, decoded to its end, or the reason why it cannot be."""
    try:
        audio = load_audio(path)
    except AudioError as error:
        return reason_of(error)
    return len(audio.samples) / audio.sample_rate


def reason_of(error: AudioError) -> str:
    """One line for a list of faults, without the file's name: the list has it."""
    what = error.what.split(": ", 1)[-1]
    return f"{what} ({error.seen})" if error.seen is not None else what


def _check_speakers(rows: Sequence[ListedSound]) -> None:
    unknown = [row.name for row in rows if not row.speaker]
    if unknown:
        raise UsageError(
            "these clips have no speaker to be held out by",
            seen=f"{len(unknown)} of {len(rows)}, such as {unknown[0]}",
            allowed="a column speaker, or a folder per speaker",
            cure="choose a subset that has speakers, or group by fold",
        )


def _labels(rows: Sequence[ListedSound]) -> tuple[str, ...]:
    """Class names: by the collection's own numbers where they agree with the names, else sorted."""
    numbers: dict[str, set[int | None]] = defaultdict(set)
    for row in rows:
        numbers[row.label].add(row.order)
    own = {label: next(iter(seen)) for label, seen in numbers.items() if len(seen) == 1}
    is_numbered = len(own) == len(numbers) == len(set(own.values())) and None not in own.values()

    def place(label: str) -> tuple[int, str]:
        return (own[label] or 0) if is_numbered else 0, label

    return tuple(sorted(numbers, key=place))
