"""Write the binary files of a store of sounds: decoded parts and clips kept from before.

Nothing here makes a store valid: that is done by the index, which `sound_store` puts into place.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.errors import DataError
from kouji.train.clip_workers import run_parts
from kouji.train.sound_clips import KIND, Entry, SoundClips, open_index
from kouji.train.sound_decoding import Ear, Kept, Part, Wanted, decode_part, read_part, stamp_of
from kouji.train.sound_layouts import ListedSound
from kouji.train.sound_sets import Found

_CLIPS_PER_PART = 16  # lost at most when a run is stopped, per process
Progress = Callable[[int, int], None]


def decode_rows(
    rows: Sequence[ListedSound],
    wanted: Wanted,
    target: Path,
    jobs: int,
    on_progress: Progress | None,
) -> list[tuple[Part, list[ListedSound]]]:
    """Decode rows in parts, each into a file of its own; those found done are left as they are."""
    folder = target / "parts"
    folder.mkdir(exist_ok=True)
    groups = [rows[k : k + _CLIPS_PER_PART] for k in range(0, len(rows), _CLIPS_PER_PART)]
    parts, ear = [], Ear.of(wanted)
    for group in groups:
        clips = tuple((row.name, str(row.path), stamp_of(row.path)) for row in group)
        parts.append((Part(clips, wanted, str(folder), ear), list(group)))
    left = [part for part, _ in parts if read_part(part) is None]
    done = len(rows) - sum(len(part.clips) for part in left)
    for place, _ in run_parts(decode_part, left, jobs):
        done += len(left[place].clips)
        if on_progress is not None:
            on_progress(done, len(rows))
    return parts


class _Files:
    """The binary files of a store while they are written behind each other."""

    def __init__(self, target: Path, tag: str, columns: int) -> None:
        self.files = {"samples": [f"samples-{tag}.bin", "int16", 0]}
        if columns:
            self.files["mels"] = [f"mels-{tag}.bin", "float16", columns]
        self._open = {name: (target / str(f[0])).open("wb") for name, f in self.files.items()}
        self.counts = dict.fromkeys(self.files, 0)

    def add(self, name: str, rows: NDArray[Any]) -> int:
        """Append rows; returns where they begin."""
        self._open[name].write(np.ascontiguousarray(rows).tobytes())
        first = self.counts[name]
        self.counts[name] += len(rows)
        return first

    def close(self) -> None:
        """Bring everything to disk."""
        for file in self._open.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()


def write_files(
    target: Path,
    old: dict[str, Any],
    entries: Sequence[Entry],
    parts: Sequence[tuple[Part, list[ListedSound]]],
    found: Found,
    wanted: Wanted,
) -> dict[str, Any]:
    """Write kept and new clips into new files; the index that will make them the store."""
    tag = hashlib.sha256(os.urandom(16)).hexdigest()[:12]
    files = _Files(target, tag, wanted.classifier().num_mels if wanted.mel is not None else 0)
    written = []
    if entries:
        before = open_index(target, old, None, "fold")
        places = {clip.name: place for place, clip in enumerate(before.set.clips)}
    for entry in entries:
        if "reason" not in entry:
            entry = {**entry, **_copy(before, places[entry["row"]["name"]], files)}
        written.append(entry)
    for part, rows in parts:
        for row, kept, (_, _, stamp) in zip(rows, _read(part), part.clips, strict=True):
            facts = {"reason": kept} if isinstance(kept, str) else _append(kept, files)
            written.append(
                {"row": record_of(row), "stamp": list(stamp) if stamp else None, **facts}
            )
    files.close()
    return {
        "kind": KIND,
        "wanted": wanted.record(),
        "sample_rate": wanted.sample_rate,
        "mel": wanted.record()["mel"],
        "files": files.files,
        "counts": files.counts,
        **facts_of(found),
        "entries": written,
    }


def _read(part: Part) -> list[Kept | str]:
    kept = read_part(part)
    if kept is None:
        raise DataError("a finished part cannot be read", seen=part.file, cure="prepare again")
    return kept


def _append(kept: Kept, files: _Files) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "seconds": kept.seconds,
        "scale": kept.scale,
        "begin": kept.begin,
        "end": kept.end,
        "first": files.add("samples", kept.samples),
        "count": len(kept.samples),
    }
    if kept.mel is not None:
        facts |= {"first_frame": files.add("mels", kept.mel), "frames": len(kept.mel)}
    return facts


def _copy(before: SoundClips, place: int, files: _Files) -> dict[str, Any]:
    """Append a clip of the store as it was."""
    facts: dict[str, Any] = {"first": files.add("samples", before.stored(place))}
    if before.mel is not None:
        facts["first_frame"] = files.add("mels", before.log_mel(place))
    return facts


def facts_of(found: Found) -> dict[str, Any]:
    """What an index says of the collection besides its clips."""
    return {
        "layout": found.layout,
        "num_listed": found.num_listed,
        "faults": [[str(fault.path), fault.reason] for fault in found.faults],
        "warnings": list(found.warnings),
    }


def record_of(row: ListedSound) -> dict[str, Any]:
    return {**asdict(row), "path": str(row.path)}
