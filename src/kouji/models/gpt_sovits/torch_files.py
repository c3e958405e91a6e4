"""Opens files that `torch.save` wrote, zip and old style, without running anything in them.

The pickle inside is read by our own machine (`pickles`). Tensors are views of the memory-mapped
file, private to this process: opening costs next to no memory, and a tensor is read from disk
when somebody computes with it. Whoever keeps tensors copies them (`weights` does), for a mapped
file must not be overwritten in place. Knows nothing of what a checkpoint means.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.gpt_sovits.pickle_names import NumpyType, plain_constructors, plain_values
from kouji.models.gpt_sovits.pickles import (
    Constructor,
    Global,
    Refused,
    Vocabulary,
    load_pickle,
    refusal,
)

MAX_PICKLE_BYTES = 64 << 20  # that of a SoVITS file is 100 kB, with optimiser states a few MB
MAX_NODES = 2_000_000
MAX_DEPTH = 64
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip entry: lengths of its name and extra field
_ENTRY_FLAG_ENCRYPTED = 1

_DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32,
    "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class TorchFile:
    """What a file holds.

    content: mappings, lists, numbers, text and CPU tensors that view the file
    tag:     two characters in the place of the archive's `PK`; None where `PK` stands
    """

    content: Any
    tag: str | None


@dataclass(frozen=True)
class _StorageKind:
    """A class of storages, as a persistent id mentions it."""

    dtype: torch.dtype


@dataclass(frozen=True)
class _Storage:
    """A run of numbers in the file, by its key."""

    key: str
    dtype: torch.dtype
    num_elements: int


@dataclass(frozen=True)
class _View:
    """A tensor still to be made: part of a storage."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def load_torch_file(path: str | Path) -> TorchFile:
    """Open a .ckpt, .pth or .bin of torch.

    raises: ModelError for what is no such file, is cut off, or asks for code
    """
    path = Path(path)
    with _named_faults(path):
        memory = _map(path)
        head = memory[:4]
        if head[2:4] == b"\x03\x04":
            tag = None if head[:2] == b"PK" else head[:2].decode("ascii", "replace")
            return TorchFile(_load_zip(path, memory), tag)
        if head[:1] == b"\x80":
            return TorchFile(_load_legacy(path, memory), None)
    raise ModelError(
        "this is no file that torch wrote",
        seen=f"{path}: {_describe(bytes(memory[:64]))}",
        allowed="a .ckpt or .pth of GPT-SoVITS",
        cure="download it again, with kouji pull or in a browser",
    )


@contextmanager
def _named_faults(path: Path) -> Iterator[None]:
    """Every fault of the file becomes one error that names it."""
    try:
        yield
    except Refused as error:
        raise refusal(error, path) from error
    except OSError as error:
        raise ModelError(
            "a checkpoint cannot be read", seen=f"{path}: {error.strerror}", cure="check the path"
        ) from error
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, EOFError) as error:
        raise refusal(Refused("it is cut off or damaged", error), path) from error


def _map(path: Path) -> mmap.mmap:
    """The file as memory: copy-on-write, so that nothing we do can reach the disk."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            raise Refused("it is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


# --- the zip container


def _load_zip(path: Path, memory: mmap.mmap) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        if len(entries) != len(archive.infolist()):
            raise Refused("its archive names one entry twice")
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        found = ", ".join(sorted(entries)[:4]) or "nothing"
        raise Refused("it is an archive, but not one of torch.save", f"holds {found}")
    folder = pickles[0].removesuffix("data.pkl")
    if folder + "constants.pkl" in entries:
        raise Refused("it holds a TorchScript program", "constants.pkl")
    byte_order = _entry(memory, entries, folder + "byteorder", default=b"little")
    if byte_order.strip() != b"little":
        raise Refused("it was written by a big-endian machine", byte_order)

    def locate(storage: _Storage) -> int:
        start, num_bytes = _span(memory, entries, f"{folder}data/{storage.key}")
        if num_bytes < storage.num_elements * storage.dtype.itemsize:
            raise Refused(
                "a tensor is larger than its data",
                f"{storage.num_elements} numbers in {num_bytes} bytes",
            )
        return start

    data = _entry(memory, entries, pickles[0], limit=MAX_PICKLE_BYTES)
    content = load_pickle(io.BytesIO(data), _vocabulary(), path)
    return _Maker(memory, locate).make(content)


def _entry(
    memory: mmap.mmap,
    entries: dict[str, zipfile.ZipInfo],
    name: str,
    *,
    limit: int = 1 << 10,
    default: bytes | None = None,
) -> bytes:
    """The bytes of a small entry."""
    if default is not None and name not in entries:
        return default
    start, num_bytes = _span(memory, entries, name)
    if num_bytes > limit:
        raise Refused("an entry is absurdly large", f"{name}: {num_bytes} bytes")
    return memory[start : start + num_bytes]


def _span(memory: mmap.mmap, entries: dict[str, zipfile.ZipInfo], name: str) -> tuple[int, int]:
    """Where the data of an entry begins and how long it is; torch never compresses."""
    entry = entries.get(name)
    if entry is None:
        raise Refused("a tensor's data is missing", name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENTRY_FLAG_ENCRYPTED:
        raise Refused("its archive is compressed, which torch.save never does", name)
    header = memory[entry.header_offset : entry.header_offset + _LOCAL_HEADER.size]
    start = entry.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
    if start + entry.file_size > len(memory):
        raise Refused("it is cut off or damaged", f"{name} ends behind the file")
    return start, entry.file_size


# --- the container before torch 1.6: pickles one after another, then the storages


def _load_legacy(path: Path, memory: mmap.mmap) -> Any:
    vocabulary = _vocabulary()
    magic = load_pickle(memory, vocabulary, path)
    if magic != LEGACY_MAGIC:
        raise Refused("it is a bare pickle, not a file of torch.save")
    if load_pickle(memory, vocabulary, path) != LEGACY_PROTOCOL:
        raise Refused("it is of an unknown version of torch.save")
    load_pickle(memory, vocabulary, path)  # facts about the machine that wrote it
    content = load_pickle(memory, vocabulary, path)
    keys = load_pickle(memory, vocabulary, path)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise Refused("it is cut off or damaged", "no list of storages")
    sizes = _collect_storages(content)
    starts: dict[str, int] = {}
    position = memory.tell()
    for key in keys:
        (num_elements,) = struct.unpack_from("<q", memory, position)
        storage = sizes.get(key)
        if storage is None or storage.num_elements != num_elements:
            raise Refused("a tensor is larger than its data", f"{num_elements} numbers")
        starts[key] = position + 8
        position += 8 + num_elements * storage.dtype.itemsize
        if position > len(memory):
            raise Refused("it is cut off or damaged", f"storage {key} ends behind the file")

    def locate(storage: _Storage) -> int:
        if storage.key not in starts:
            raise Refused("a tensor's data is missing", storage.key)
        return starts[storage.key]

    return _Maker(memory, locate).make(content)


def _collect_storages(content: Any) -> dict[str, _Storage]:
    """The storages of all tensors in the content; one key is one size."""
    found: dict[str, _Storage] = {}

    def note(view: _View) -> Tensor:
        known = found.setdefault(view.storage.key, view.storage)
        if known != view.storage:
            raise Refused("one storage has two sizes", view.storage.key)
        return _NOTHING

    _Walker(note).walk(content)
    return found


_NOTHING = torch.empty(0)


# --- tensors


class _Walker:
    """Copies plain content, with something else in the place of each tensor still to be made."""

    def __init__(self, replace: Callable[[_View], Tensor]) -> None:
        self.replace = replace
        self.nodes = 0

    def walk(self, value: Any, depth: int = 0) -> Any:
        """A plain copy; shared parts are copied too, so their number is bounded."""
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise Refused("its content is nested or repeated without end")
        if isinstance(value, _View):
            return self.replace(value)
        if isinstance(value, dict):
            return {key: self.walk(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([self.walk(item, depth + 1) for item in value])
        if isinstance(value, set):
            return list(value)  # as protocols before 4 leave it, too
        if isinstance(value, Global | NumpyType | _StorageKind | _Storage):
            return str(value)
        return value


class _Maker(_Walker):
    """Makes tensors as views of the mapped file."""

    def __init__(self, memory: mmap.mmap, locate: Callable[[_Storage], int]) -> None:
        super().__init__(self.view)
        self.memory, self.locate = memory, locate
        self.storages: dict[_Storage, Tensor] = {}

    def make(self, content: Any) -> Any:
        """The content with its tensors."""
        return self.walk(content)

    def view(self, wanted: _View) -> Tensor:
        """The tensor, proven to lie inside its storage."""
        storage = wanted.storage
        last = wanted.offset + sum(
            (size - 1) * stride for size, stride in zip(wanted.size, wanted.stride, strict=True)
        )
        num_elements = int(np.prod(wanted.size, dtype=object)) if wanted.size else 1
        if num_elements and (last >= storage.num_elements or num_elements > storage.num_elements):
            raise Refused(
                "a tensor reaches outside its data",
                f"shape {list(wanted.size)[:8]} in {storage.num_elements} numbers",
            )
        if not num_elements:
            return torch.empty(wanted.size, dtype=storage.dtype)
        if storage not in self.storages:
            self.storages[storage] = self.flat(storage)
        return self.storages[storage].as_strided(wanted.size, wanted.stride, wanted.offset)

    def flat(self, storage: _Storage) -> Tensor:
        """All numbers of a storage, without copying where the file aligns them, as torch does."""
        start = self.locate(storage)
        buffer: Any = self.memory
        if start % storage.dtype.itemsize:
            num_bytes = storage.num_elements * storage.dtype.itemsize
            buffer, start = bytearray(self.memory[start : start + num_bytes]), 0
        return torch.frombuffer(
            buffer, dtype=storage.dtype, count=storage.num_elements, offset=start
        )


def _vocabulary() -> Vocabulary:
    tensors: dict[str, Constructor] = {
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch.Size": lambda arguments: tuple(arguments[0]) if arguments else (),
        "torch.device": lambda arguments: ":".join(f"{part:.20}" for part in arguments[:1]),
    }
    kinds = {
        f"{module}.{name}Storage": _StorageKind(dtype)
        for name, dtype in _DTYPES.items()
        for module in ("torch", "torch.cuda")
    }
    dtypes = {str(dtype): str(dtype) for dtype in _DTYPES.values()}
    return Vocabulary(
        {**plain_constructors(), **tensors}, {**plain_values(), **kinds, **dtypes}, _persistent
    )


def _persistent(identity: Any) -> _Storage:
    """A storage: ("storage", class, key, device, numbers) and, in old files, a view of it."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise Refused("its pickle refers to something else than a storage")
    _, kind, key, _, num_elements, *view = identity
    if not isinstance(kind, _StorageKind) or not isinstance(key, str):
        raise Refused("its pickle refers to something else than a storage", type(kind).__name__)
    if not _is_count(num_elements) or any(part is not None for part in view):
        raise Refused("its pickle refers to a storage of no size", type(num_elements).__name__)
    return _Storage(key, kind.dtype, num_elements)


def _rebuild_tensor(arguments: tuple[Any, ...]) -> _View:
    storage, offset, size, stride = arguments[:4]
    is_shape = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)
    if not isinstance(storage, _Storage) or not is_shape or not _is_count(offset):
        raise Refused("a tensor is described in an unknown way")
    if len(size) > 16 or not all(map(_is_count, (*size, *stride))):
        raise Refused("a tensor has an absurd shape", f"of {len(size)} axes")
    return _View(storage, offset, size, stride)


def _rebuild_parameter(arguments: tuple[Any, ...]) -> _View:
    if not arguments or not isinstance(arguments[0], _View):
        raise Refused("a tensor is described in an unknown way")
    return arguments[0]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _describe(head: bytes) -> str:
    """What a file that is no checkpoint seems to be."""
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file it points to"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    if head[8:9] == b"{":
        return "a safetensors file"
    return f"begins with {head[:8].hex(' ')}"
