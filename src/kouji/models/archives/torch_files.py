"""Opens files that `torch.save` wrote, zip and old style, without running anything in them.

The pickle inside is read by our own machine (`pickles`), its tensors are made by
`stored_tensors`: views of the memory-mapped file, private to this process. Opening costs next to
no memory; a tensor is read from disk when somebody computes with it. Whoever keeps tensors copies
them (`weights` does), for a mapped file must not be overwritten in place.
"""

from __future__ import annotations

import io
import mmap
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.archives.pickles import Refused, load_pickle, refusal
from kouji.models.archives.stored_tensors import (
    Maker,
    Storage,
    View,
    Walker,
    tensor_vocabulary,
)

MAX_PICKLE_BYTES = 64 << 20  # that of a SoVITS file is 100 kB, with optimiser states a few MB
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip entry: lengths of its name and extra field
_ENTRY_FLAG_ENCRYPTED = 1


@dataclass(frozen=True)
class TorchFile:
    """What a file holds.

    content: mappings, lists, numbers, text and CPU tensors that view the file
    tag:     two characters in the place of the archive's `PK`; None where `PK` stands
    """

    content: Any
    tag: str | None


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
        allowed="weights saved by torch (.pt, .pth, .ckpt)",
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

    def locate(storage: Storage) -> int:
        start, num_bytes = _span(memory, entries, f"{folder}data/{storage.key}")
        if num_bytes < storage.num_elements * storage.dtype.itemsize:
            raise Refused(
                "a tensor is larger than its data",
                f"{storage.num_elements} numbers in {num_bytes} bytes",
            )
        return start

    data = _entry(memory, entries, pickles[0], limit=MAX_PICKLE_BYTES)
    content = load_pickle(io.BytesIO(data), tensor_vocabulary(), path)
    return Maker(memory, locate).make(content)


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
    vocabulary = tensor_vocabulary()
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

    def locate(storage: Storage) -> int:
        if storage.key not in starts:
            raise Refused("a tensor's data is missing", storage.key)
        return starts[storage.key]

    return Maker(memory, locate).make(content)


def _collect_storages(content: Any) -> dict[str, Storage]:
    """The storages of all tensors in the content; one key is one size."""
    found: dict[str, Storage] = {}

    def note(view: View) -> Tensor:
        known = found.setdefault(view.storage.key, view.storage)
        if known != view.storage:
            raise Refused("one storage has two sizes", view.storage.key)
        return _NOTHING

    Walker(note).walk(content)
    return found


_NOTHING = torch.empty(0)


def _describe(head: bytes) -> str:
    """What a file that is no checkpoint seems to be."""
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file it points to"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page"
    if head[8:9] == b"{":
        return "a safetensors file"
    return f"begins with {head[:8].hex(' ')}"
