"""Folds of a collection that brings none, and warnings where folds tear apart what is one.

All of it is decided by names and bytes, never by chance.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

OWN_FOLDS = 5
_SHOWN = 3  # examples named in a warning
_LOOK_BYTES = 1 << 12


def fold_order(fold: str) -> tuple[bool, int, str]:
    """Sort folds by number where they are numbers."""
    return not fold.isdigit(), int(fold) if fold.isdigit() else 0, fold


def make_folds(
    clips: Sequence[tuple[str, str]], num_folds: int = OWN_FOLDS
) -> tuple[list[str], str]:
    """Folds for (label, recording) pairs that have none, and the sentence that says so.

    Each class is spread evenly, all clips of one recording together. The order comes from hashes
    of the names: the same folds every time and everywhere, and a new clip moves few others.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for place, (_, recording) in enumerate(clips):
        members[recording].append(place)
    recordings = Counter(label for label, _ in {(lab, rec) for lab, rec in clips})
    fewest = min(recordings.values())
    num_folds = max(2, min(num_folds, fewest))
    filled: list[Counter[str]] = [Counter() for _ in range(num_folds)]
    chosen = [""] * len(clips)
    for recording in sorted(members, key=lambda name: (-len(members[name]), _hash(name))):
        here = Counter(clips[place][0] for place in members[recording])
        costs = [
            (sum(filled[k][label] * count for label, count in here.items()), filled[k].total(), k)
            for k in range(num_folds)
        ]
        best = min(costs)[2]
        filled[best] += here
        for place in members[recording]:
            chosen[place] = str(best + 1)
    told = (
        f"the collection brings no folds: {num_folds} were made here, each class spread evenly "
        "and clips of one recording kept together; figures on them compare with no published ones"
    )
    if fewest < num_folds:
        poor = sorted(label for label, count in recordings.items() if count < num_folds)
        told += f"; too few recordings to be in each fold: {', '.join(poor[:_SHOWN])}"
    return chosen, told


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def torn_apart(clips: Sequence[tuple[str, Path, str, str | None]]) -> list[str]:
    """Warnings of recordings in several folds and of copies; clips: name, path, recording, fold."""
    folds: dict[str, set[str | None]] = defaultdict(set)
    for _, _, recording, fold in clips:
        folds[recording].add(fold)
    torn = sorted(name for name, where in folds.items() if len(where) > 1)
    told = named("in more than one fold, so figures flatter", torn, "recordings")
    names = {path: name for name, path, _, _ in clips}
    shown = [" = ".join(sorted(names[path] for path in same)[:2]) for same in _copies(list(names))]
    return told + named("the same bytes under several names", shown, "sounds")


def _copies(paths: Sequence[Path]) -> list[list[Path]]:
    """Groups of files with the same bytes; only those of one size and one look are read whole."""
    looks: dict[tuple[int, bytes], list[Path]] = defaultdict(list)
    sizes: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        with contextlib.suppress(OSError):  # a prepared store outlives the files it came from
            sizes[path.stat().st_size].append(path)
    for size, same in sizes.items():
        for path in same if len(same) > 1 else ():
            looks[size, _look(path, size)].append(path)
    wholes: dict[str, list[Path]] = defaultdict(list)
    for same in looks.values():
        for path in same if len(same) > 1 else ():
            with path.open("rb") as file:
                wholes[hashlib.file_digest(file, "sha256").hexdigest()].append(path)
    return [same for same in wholes.values() if len(same) > 1]


def _look(path: Path, num_bytes: int) -> bytes:
    """Beginning, middle and end of a file: collections of clips of one size are read fast."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for start in (0, num_bytes // 2, max(0, num_bytes - _LOOK_BYTES)):
            file.seek(start)
            digest.update(file.read(_LOOK_BYTES))
    return digest.digest()


def named(what: str, names: Sequence[str], kind: str = "clips") -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {kind} {what}: {', '.join(names[:_SHOWN])}{more}"]
