"""A collection of sounds decoded once and mapped from disk: what classifiers are trained on.

One JSON index beside one file of int16 samples (and one of log-mels, if wanted). A folder of
recordings and a store are opened alike: a folder gets a store under Kouji's home. What did not
change is never decoded again. Knows no model and no training.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kouji.config import load_settings
from kouji.errors import DataError, UsageError
from kouji.train.sound_clips import INDEX, Entry, SoundClips, open_index, read_index, row_of
from kouji.train.sound_decoding import Wanted, stamp_of
from kouji.train.sound_packing import Progress, decode_rows, facts_of, record_of, write_files
from kouji.train.sound_sets import Found, GroupBy, find_sounds

__all__ = ["SoundClips", "Wanted", "open_sounds", "prepare_sounds"]


def open_sounds(
    data: str | Path,
    sample_rate: int,
    jobs: int = 0,
    *,
    layout: str = "auto",
    subset: str | None = None,
    group_by: GroupBy = "fold",
    cache: Path | None = None,
    on_progress: Progress | None = None,
) -> SoundClips:
    """Open a store, or a folder of recordings in any layout, at `sample_rate`.

    jobs:    processes that decode what is not in the store yet; 0: one per core
    cache:   where the store of a folder is kept; default cache/sounds in Kouji's home
    raises:  as `read_sound_set`; UsageError where a store has another rate
    """
    folder = Path(data)
    if (index := read_index(folder)) is not None:
        if index["sample_rate"] != sample_rate:
            raise UsageError(
                "the store was prepared at another rate",
                seen=f"{index['sample_rate']} Hz, {sample_rate} Hz wanted",
                cure=f"prepare it with --sample-rate {sample_rate}",
            )
        return open_index(folder, index, subset, group_by)
    wanted = Wanted(sample_rate)
    place = cache or load_settings().home / "cache" / "sounds"
    facts = json.dumps([str(folder.resolve()), layout, subset, sample_rate])
    store = place / hashlib.sha256(facts.encode()).hexdigest()[:16]
    return prepare_sounds(
        folder,
        store,
        wanted,
        jobs=jobs,
        layout=layout,
        subset=subset,
        group_by=group_by,
        on_progress=on_progress,
    )


def prepare_sounds(
    data: str | Path,
    store: str | Path,
    wanted: Wanted,
    *,
    jobs: int = 0,
    layout: str = "auto",
    subset: str | None = None,
    group_by: GroupBy = "fold",
    on_progress: Progress | None = None,
) -> SoundClips:
    """Decode a collection into a store; call again to go on with a stopped run, or after changes.

    on_progress: called with (clips done, clips in all)
    """
    found = find_sounds(data, layout=layout, subset=subset)
    target = Path(store)
    with _writing(target):
        old = read_index(target) or {}
        entries = _still_good(target, found, old, wanted)
        missing = [row for row in found.rows if row.name not in entries]
        if missing or len(entries) < len(old["entries"]):
            parts = decode_rows(missing, wanted, target, jobs, on_progress)
            index = write_files(target, old, list(entries.values()), parts, found, wanted)
        else:
            index = {**old, **facts_of(found), "entries": list(entries.values())}
        opened = open_index(target, index, None, group_by)  # refuses what is mostly damaged
        if index != old:
            _finish(target, index)
        shutil.rmtree(target / "parts", ignore_errors=True)
    return opened


def _still_good(
    target: Path, found: Found, old: dict[str, Any], wanted: Wanted
) -> dict[str, Entry]:
    """Entries of an old index whose files did not change since, by name."""
    if old.get("wanted") != wanted.record() or not _is_whole(target, old):
        return {}
    before = {entry["row"]["name"]: entry for entry in old["entries"]}
    good = {}
    for row in found.rows:
        entry = before.get(row.name)
        stamp = stamp_of(row.path)
        if entry and entry["stamp"] == (list(stamp) if stamp else None):
            good[row.name] = entry if row_of(entry) == row else {**entry, "row": record_of(row)}
    return good


def _is_whole(target: Path, index: dict[str, Any]) -> bool:
    """Whether the binary files are there and as long as the index says."""
    for name, (file, dtype, columns) in index.get("files", {}).items():
        num_bytes = index["counts"][name] * np.dtype(dtype).itemsize * (columns or 1)
        if not (target / file).is_file() or (target / file).stat().st_size != num_bytes:
            return False
    return True


def _finish(target: Path, index: dict[str, Any]) -> None:
    """Make an index the store's, and remove the files of the one before."""
    temporary = target / f"{INDEX}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
    os.replace(temporary, target / INDEX)
    current = {file for file, _, _ in index["files"].values()}
    for path in [*target.glob("samples-*.bin"), *target.glob("mels-*.bin")]:
        if path.name not in current:
            path.unlink(missing_ok=True)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Hold the store's lock: several processes that open a folder wait for the first to decode."""
    import fcntl

    try:
        target.mkdir(parents=True, exist_ok=True)
        with (target / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise DataError(
            "the store of sounds cannot be written",
            seen=f"{error.filename or target}: {error.strerror or error}",
            cure=f"check {target}: it must be a folder with room and write access",
        ) from error
