"""Lean copies of a store for another machine: fewer arrays, fewer bytes a value, fewer clips.

Knows stores only; what a recipe needs is the caller's choice.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import DataError
from .records import ArraySpec
from .store import Store, StoreWriter, add_array

_LEVELS = 255


def pack(
    store: Store,
    out: str | Path,
    *,
    fields: Sequence[str],
    limit_bytes: int | None = None,
    quantise: Sequence[str] = (),
) -> Store:
    """Write the clips of a store or subset to `out` with only the named arrays.

    fields:      standard or added arrays; added ones come along as added ones
    limit_bytes: if all would be more, clips are left out: speakers take turns in giving
                 clips until the limit, so every speaker stays in before any gives much
    quantise:    fields stored in 8 bits between their least and greatest value (for a log-mel
                 steps of about 0.06, an error of 0.02 nepers); they read back as float16
    raises:      DataError for unknown fields, or if not even one clip fits
    """
    if unknown := sorted({*fields, *quantise} - set(store.arrays)):
        raise DataError("no such arrays", seen=unknown, allowed=", ".join(store.arrays))
    if Path(out).resolve() == store.path.resolve():
        raise DataError(
            "a store cannot be packed into itself", seen=out, cure="name another folder"
        )
    specs = {name: _lean_spec(store, name, name in quantise) for name in fields}
    standard = {name: spec for name, spec in specs.items() if spec is not None}
    chosen = _fit(store, specs, limit_bytes)
    writer = StoreWriter(out, standard, tag="packed")
    for i in chosen:
        writer.add(store.clip(i), {name: store.array(name, i) for name in standard})
    writer.finish(mel=store.mel_config, sample_rate=store.sample_rate, hop_length=store.hop_length)
    for name in fields:
        if name not in standard:
            add_array(out, name, (store.array(name, i) for i in chosen))
    return Store(out)


def _lean_spec(store: Store, name: str, is_quantised: bool) -> ArraySpec | None:
    spec = store.spec(name)
    if spec is None or not is_quantised:
        return spec
    values = store.view(name)
    low, high = float(values.min()), float(values.max())
    step = max(high - low, 1e-6) / _LEVELS
    return replace(spec, dtype="uint8", scale=step, offset=low)


def _fit(store: Store, specs: dict[str, ArraySpec | None], limit: int | None) -> list[int]:
    """Clips to keep, in the order of the store."""
    if limit is None:
        return list(range(len(store)))
    used, chosen = 0, []
    for i in _by_turns(store):
        needed = sum(_clip_bytes(store, name, spec, i) for name, spec in specs.items())
        if used + needed <= limit:
            used += needed
            chosen.append(i)
    if not chosen:
        raise DataError("not one clip fits", seen=f"{limit} bytes", cure="raise limit_bytes")
    return sorted(chosen)


def _clip_bytes(store: Store, name: str, spec: ArraySpec | None, i: int) -> int:
    if spec is None:
        return int(store.array(name, i).nbytes)
    return store.clip(i).count(spec.axis) * spec.row_bytes


def _by_turns(store: Store) -> list[int]:
    """Clip numbers so that each speaker's first come before any speaker's second."""
    own: dict[str, list[int]] = defaultdict(list)
    keys = [hashlib.sha256(clip.id.encode()).digest() for clip in store.clips]
    for i in sorted(range(len(store)), key=keys.__getitem__):
        own[store.clip(i).speaker].append(i)
    turns = [(turn, i) for clips in own.values() for turn, i in enumerate(clips)]
    order = np.argsort([turn for turn, _ in turns], kind="stable")
    return [turns[place][1] for place in order]
