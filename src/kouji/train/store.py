"""The packed store: every feature of a data set in flat files, read through memory maps.

One JSON index beside one binary file per array. An array is the clips' rows behind each
other; where a clip begins follows from the counts in the index, so opening reads only the
index and random access costs one slice. Knows nothing of audio or text: `prepare` fills
it, recipes read it and add arrays of their own (durations) as side files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .records import Array, ArraySpec, Clip, Speaker, count_speakers, standard_arrays

__all__ = ["ArraySpec", "Clip", "Speaker", "Store", "StoreWriter", "add_array", "standard_arrays"]

VERSION = 1
INDEX = "index.json"


class Store:
    """Read access to a prepared store, or to a subset of its clips.

    Arrays come back as fresh writable copies in the stored type; `view` gives the bare
    memory map. Safe to open in every worker; nothing is loaded until asked for.
    """

    def __init__(self, path: str | Path, *, rows: NDArray[np.int64] | None = None) -> None:
        """Open the store at `path`; DataError if it is absent, unfinished or damaged.

        rows: indices of the clips to keep, all when None
        """
        self.path = Path(path)
        index = _read_json(self.path / INDEX)
        if index.get("version") != VERSION:
            raise DataError(
                "this store has another version",
                seen=index.get("version"),
                allowed=str(VERSION),
                cure="prepare the data again",
            )
        self.index = index
        self.mel_config: dict[str, Any] = index["mel"]
        self.sample_rate: int = index["sample_rate"]
        self.hop_length: int = index["hop_length"]
        self.speakers = tuple(
            Speaker(**{**speaker, "languages": tuple(speaker["languages"])})
            for speaker in index["speakers"]
        )
        columns = index["clips"]["columns"]
        self._clips = [
            Clip(**dict(zip(columns, row, strict=True))) for row in index["clips"]["rows"]
        ]
        self._rows = np.arange(len(self._clips)) if rows is None else np.asarray(rows, np.int64)
        self._specs = {name: ArraySpec(**spec) for name, spec in index["arrays"].items()}
        self._offsets = {
            axis: _offsets([clip.count(axis) for clip in self._clips])
            for axis in ("frames", "samples", "phones")
        }
        self._extra_offsets: dict[str, NDArray[np.int64]] = {}
        self._maps: dict[str, Array] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory maps behind: a worker process opens its own."""
        return {**self.__dict__, "_maps": {}}

    def clip(self, i: int) -> Clip:
        """The record of clip `i`."""
        return self._clips[int(self._rows[i])]

    @property
    def clips(self) -> list[Clip]:
        """The records of all clips of this store or subset."""
        return [self._clips[row] for row in self._rows]

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of all arrays, added ones included."""
        added = (file.name.removesuffix(".array.json") for file in self.path.glob("*.array.json"))
        return (*self._specs, *sorted(added))

    def mel(self, i: int) -> Array:
        """(frames, mels) float16 natural-log mel spectrogram."""
        return self.array("mel", i)

    def f0(self, i: int) -> Array:
        """(frames,) float32 pitch in Hz, 0 where unvoiced."""
        return self.array("f0", i)

    def energy(self, i: int) -> Array:
        """(frames,) float16 level in dBFS."""
        return self.array("energy", i)

    def wave(self, i: int, start: int = 0, count: int | None = None) -> Array:
        """(samples,) int16 at `sample_rate`; exactly num_frames * hop_length of them.

        start, count: read only this stretch, in samples
        """
        begin, end = self._bounds("wave", i)
        first = min(begin + start, end)
        last = end if count is None else min(first + count, end)
        return np.array(self.view("wave")[first:last])

    def samples(self, i: int, start: int = 0, count: int | None = None) -> Array:
        """The same stretch as `wave`: (samples,) float32 within -1 and 1."""
        return self.wave(i, start, count).astype(np.float32) / np.float32(32768)

    def phones(self, i: int) -> Array:
        """(phones,) int16 ids of `text.phones.SYMBOLS`."""
        return self.array("phones", i)

    def tones(self, i: int) -> Array:
        """(phones,) int8 tone ids."""
        return self.array("tones", i)

    def words(self, i: int) -> Array:
        """(phones,) int16 index of the word a phone belongs to, -1 for pauses."""
        return self.array("words", i)

    def boundary(self, i: int) -> Array:
        """(phones,) uint8: 1 = first phone of a word, 2 = last, 3 = both, 0 = neither."""
        return self.array("boundary", i)

    def array(self, name: str, i: int) -> Array:
        """Rows of the named array that belong to clip `i`; DataError if there is no such array."""
        begin, end = self._bounds(name, i)
        rows = self.view(name)[begin:end]
        return self._specs[name].decode(rows) if name in self._specs else np.array(rows)

    def view(self, name: str) -> Array:
        """The whole named array as a read-only memory map."""
        if name not in self._maps:
            self._maps[name] = self._open(name)
        return self._maps[name]

    def subset(self, predicate: Callable[[Clip], bool]) -> Store:
        """A store of the clips for which `predicate` holds, sharing the same files."""
        keep = [row for row in self._rows if predicate(self._clips[row])]
        return self.select(keep)

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> Store:
        """A store of the clips at these rows of the whole store, in this order."""
        other = Store.__new__(Store)
        other.__dict__.update(self.__dict__)
        other._rows = np.asarray(rows, np.int64)
        other._maps = dict(self._maps)
        return other

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the whole store that this (sub)store shows."""
        return self._rows

    def spec(self, name: str) -> ArraySpec | None:
        """Layout of a standard array; None for an added one."""
        return self._specs.get(name)

    def _bounds(self, name: str, i: int) -> tuple[int, int]:
        row = self._rows[i]
        spec = self._specs.get(name)
        if spec is not None:
            offsets = self._offsets[spec.axis]
        else:
            self.view(name)
            offsets = self._extra_offsets[name]
        return int(offsets[row]), int(offsets[row + 1])

    def _open(self, name: str) -> Array:
        spec = self._specs.get(name)
        if spec is not None:
            num_rows = int(self._offsets[spec.axis][-1])
            return _map_file(self.path / self.index["files"][name], spec, num_rows)
        header = self.path / f"{name}.array.json"
        if not header.exists():
            raise DataError(
                "the store has no such array", seen=name, allowed=", ".join(self.arrays)
            )
        added = _read_json(header)
        if len(added["counts"]) != len(self._clips):
            raise DataError(
                f"array {name} was written for another version of this store",
                seen=f"{len(added['counts'])} clips",
                allowed=f"{len(self._clips)} clips",
                cure="compute it again",
            )
        self._extra_offsets[name] = _offsets(added["counts"])
        layout = ArraySpec("frames", added["dtype"], added["columns"])
        return _map_file(self.path / added["file"], layout, int(self._extra_offsets[name][-1]))


class StoreWriter:
    """Writes a store clip by clip; it exists for readers only after `finish`.

    Data files carry a tag in their names and the index is renamed into place last, so an
    older store in the same folder stays whole until the new one is complete.
    """

    def __init__(self, path: str | Path, arrays: dict[str, ArraySpec], *, tag: str) -> None:
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self._arrays = arrays
        self._names = {name: f"{name}.{tag}.bin" for name in arrays}
        self._files = {name: (self.path / file).open("wb") for name, file in self._names.items()}
        self._clips: list[Clip] = []

    def add(self, clip: Clip, arrays: dict[str, Array]) -> None:
        """Append one clip; `arrays` has one entry per array of the store, rows first."""
        for name, spec in self._arrays.items():
            data = spec.encode(arrays[name])
            expected = (clip.count(spec.axis), *([spec.columns] if spec.columns else []))
            assert data.shape == expected, (name, data.shape, expected)
            self._files[name].write(data.data)
        self._clips.append(clip)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the data files; without `finish` no store comes of them."""
        for file in self._files.values():
            file.close()

    def finish(
        self,
        *,
        mel: dict[str, Any],
        sample_rate: int,
        hop_length: int,
        extra: dict[str, Any] | None = None,
    ) -> Store:
        """Make the store visible and drop the data files of an older one.

        mel:   the mel definition as a plain record
        extra: further plain entries for the index, such as a fingerprint
        """
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
            file.close()
        columns = [field.name for field in fields(Clip)]
        index = {
            **(extra or {}),
            "version": VERSION,
            "mel": mel,
            "sample_rate": sample_rate,
            "hop_length": hop_length,
            "arrays": {name: asdict(spec) for name, spec in self._arrays.items()},
            "files": self._names,
            "speakers": [asdict(speaker) for speaker in count_speakers(self._clips)],
            "clips": {
                "columns": columns,
                "rows": [[getattr(clip, name) for name in columns] for clip in self._clips],
            },
        }
        write_json(self.path / INDEX, index)
        self._drop_stale()
        return Store(self.path)

    def _drop_stale(self) -> None:
        """Remove data and added arrays that belonged to an earlier index."""
        for old in self.path.glob("*.bin"):
            if old.name not in self._names.values():
                old.unlink()
        for added in (*self.path.glob("*.array.json"), *self.path.glob("*.extra")):
            added.unlink()


def add_array(store_path: str | Path, name: str, arrays: Iterable[Array]) -> None:
    """Add a named array to a store, one entry per clip of the whole store, atomically.

    arrays: (rows,) or (rows, columns) each, of one type; rows may differ from clip to clip
            and be 0. An array of the same name is replaced.
    """
    path = Path(store_path)
    store = Store(path)
    if name in store.index["arrays"] or not name.isidentifier():
        raise DataError(
            "an added array needs a name of its own",
            seen=name,
            allowed="a Python identifier that is not a standard array",
        )
    temporary = path / f"{name}.extra.tmp"
    try:
        header = _write_entries(temporary, name, arrays)
        if len(header["counts"]) != len(store):
            raise DataError(
                f"array {name} needs one entry per clip",
                seen=len(header["counts"]),
                allowed=str(len(store)),
            )
        final = path / f"{name}.{temporary.stat().st_mtime_ns:x}.extra"
        os.replace(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)
    write_json(path / f"{name}.array.json", {**header, "file": final.name})
    for old in path.glob(f"{name}.*.extra"):
        if old != final:
            old.unlink()


def _write_entries(path: Path, name: str, arrays: Iterable[Array]) -> dict[str, Any]:
    """Write the entries behind each other; returns their type, width and row counts."""
    counts: list[int] = []
    kind: tuple[str, int] | None = None
    with path.open("wb") as file:
        for entry in arrays:
            data = np.ascontiguousarray(entry)
            own = (data.dtype.name, data.shape[1] if data.ndim == 2 else 0)
            if len(data) and kind not in (None, own):
                raise DataError(
                    f"array {name} changes its type or width at clip {len(counts)}",
                    seen=own,
                    allowed=str(kind),
                )
            if len(data):  # an empty entry says nothing about the type
                kind = own
            counts.append(len(data))
            file.write(data.data)
        file.flush()
        os.fsync(file.fileno())
    dtype, columns = kind or ("float32", 0)
    return {"dtype": dtype, "columns": columns, "counts": counts}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON to a temporary file and rename it: readers see the old or the new whole."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            "no prepared store here", seen=path.parent, cure="run `kouji prepare DATA --out PATH`"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError("the store cannot be read", seen=f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise DataError("the store cannot be read", seen=path, allowed="a JSON object")
    return content


def _offsets(counts: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def _map_file(path: Path, spec: ArraySpec, num_rows: int) -> Array:
    """Memory-map a flat file after checking that it holds what the index says."""
    shape = (num_rows, spec.columns) if spec.columns else (num_rows,)
    seen = path.stat().st_size if path.exists() else -1
    if seen != num_rows * spec.row_bytes:
        raise DataError(
            f"data file {path.name} does not fit its index",
            seen="absent" if seen < 0 else f"{seen} bytes",
            allowed=f"{num_rows * spec.row_bytes} bytes",
            cure="prepare the data again",
        )
    if num_rows == 0:
        return np.zeros(shape, spec.dtype)
    return np.memmap(path, dtype=spec.dtype, mode="r", shape=shape)
