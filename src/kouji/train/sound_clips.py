"""The clips of a store of sounds: samples, class and fold of each, mapped from disk.

A store is one JSON index beside one file of int16 samples (and one of log-mels, if wanted).
Knows how to read one; `sound_store` makes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.errors import DataError, UsageError
from kouji.train.sound_layouts import ListedSound, select_rows
from kouji.train.sound_sets import Found, GroupBy, SoundSet, Unreadable, assemble
from kouji.types import Samples

INDEX = "index.json"
KIND = "kouji sounds"
Entry = dict[str, Any]  # of the index: a row, its file's stamp, and where its samples are


class SoundClips:
    """The clips of a collection: samples from disk, class and fold of each, by number.

    Safe to open in every process; only what is asked for is read.
    """

    def __init__(self, folder: Path, index: dict[str, Any], sounds: SoundSet) -> None:
        """folder: the store; use `open_sounds`."""
        self.folder, self.set, self.sample_rate = folder, sounds, int(index["sample_rate"])
        self.mel: dict[str, Any] | None = index["mel"]
        entries = {entry["row"]["name"]: entry for entry in index["entries"]}
        self._entries = [entries[clip.name] for clip in sounds.clips]
        self._labels = {label: number for number, label in enumerate(sounds.labels)}
        self._files = index["files"]
        self._maps: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory maps behind: a worker process opens its own."""
        return {**self.__dict__, "_maps": {}}

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names; `label_id` counts in them."""
        return self.set.labels

    @property
    def folds(self) -> tuple[str, ...]:
        """Names of the folds."""
        return self.set.folds

    def samples(self, index: int) -> Samples:
        """(samples,) float32 of a clip, a copy of its own."""
        scale = np.float32(self._entries[index]["scale"])
        return self.stored(index).astype(np.float32) * scale

    def stored(self, index: int) -> NDArray[np.int16]:
        """(samples,) int16 of a clip as they lie on disk, without their scale."""
        first, count = (self._entries[index][name] for name in ("first", "count"))
        return self._map("samples")[first : first + count]

    def bounds(self, index: int) -> tuple[int, int]:
        """First sample of a clip's sound and the one behind its last; outside is silence."""
        return self._entries[index]["begin"], self._entries[index]["end"]

    def log_mel(self, index: int) -> NDArray[np.float16]:
        """(frames, mels) natural-log mel of a clip, in a store prepared with features."""
        if self.mel is None:
            raise UsageError("this store holds no features", cure="prepare it with --features")
        entry = self._entries[index]
        first = entry["first_frame"]
        return np.array(self._map("mels")[first : first + entry["frames"]])

    def label_id(self, index: int) -> int:
        """Number of the clip's class in `labels`."""
        return self._labels[self.set.clips[index].label]

    def fold(self, index: int) -> str | None:
        """The clip's fold; None: it is in every training set."""
        return self.set.clips[index].fold

    def seconds(self, index: int) -> float:
        """Duration of the clip."""
        return self.set.clips[index].seconds

    def path(self, index: int) -> Path:
        """The file the clip came from."""
        return self.set.clips[index].path

    def _map(self, name: str) -> NDArray[Any]:
        if name not in self._maps:
            file, dtype, columns = self._files[name]
            path = self.folder / file
            try:
                flat = np.memmap(path, np.dtype(dtype), "r") if path.stat().st_size else None
            except OSError as error:
                raise DataError(
                    "the store of sounds is damaged", seen=error, cure="prepare the data again"
                ) from error
            whole = np.zeros(0, dtype) if flat is None else flat
            self._maps[name] = whole.reshape(-1, columns) if columns else whole
        return self._maps[name]


def read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a store; None where `folder` is none, or one of another version."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return index if isinstance(index, dict) and index.get("kind") == KIND else None


def open_index(
    folder: Path, index: dict[str, Any], subset: str | None, group_by: GroupBy
) -> SoundClips:
    """The clips of an index, grouped as asked, without a look at the files they came from."""
    rows = {row.name: row for row in (row_of(entry) for entry in index["entries"])}
    chosen = {row.name for row in select_rows(list(rows.values()), subset)}
    entries = [entry for entry in index["entries"] if entry["row"]["name"] in chosen]
    faults = tuple(Unreadable(Path(path), reason) for path, reason in index["faults"])
    found = Found(
        index["layout"],
        tuple(rows[entry["row"]["name"]] for entry in entries),
        index["num_listed"] if subset is None else len(entries),
        faults if subset is None else (),
        tuple(index["warnings"]),
    )
    measured = [entry.get("reason") or entry["seconds"] for entry in entries]
    return SoundClips(folder, index, assemble(found, measured, group_by))


def row_of(entry: Entry) -> ListedSound:
    return ListedSound(**{**entry["row"], "path": Path(entry["row"]["path"])})
