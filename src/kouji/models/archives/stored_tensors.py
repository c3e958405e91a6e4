"""Tensors in a torch file: how a pickle describes them, and views of the mapped file.

The pickle machine leaves a tensor as a description, part of a storage; `Maker` proves that it
lies inside its data and makes it, without copying. Where a storage begins, the file knows.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from kouji.models.archives.pickle_names import NumpyType, plain_constructors, plain_values
from kouji.models.archives.pickles import Constructor, Global, Refused, Vocabulary

MAX_NODES = 200_000  # a training state with its optimiser has some 10,000
MAX_DEPTH = 64

_DTYPES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16,
    "BFloat16": torch.bfloat16, "Long": torch.int64, "Int": torch.int32,
    "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8, "Bool": torch.bool,
}  # fmt: skip


@dataclass(frozen=True)
class StorageKind:
    """A class of storages, as a persistent id mentions it."""

    dtype: torch.dtype


@dataclass(frozen=True)
class Storage:
    """A run of numbers in the file, by its key."""

    key: str
    dtype: torch.dtype
    num_elements: int


@dataclass(frozen=True)
class View:
    """A tensor still to be made: part of a storage."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Walker:
    """Copies plain content, with something else in the place of each tensor still to be made."""

    def __init__(self, replace: Callable[[View], Tensor]) -> None:
        self.replace = replace
        self.nodes = 0

    def walk(self, value: Any, depth: int = 0) -> Any:
        """A plain copy; shared parts are copied too, so their number is bounded."""
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise Refused("its content is nested or repeated without end")
        if isinstance(value, View):
            return self.replace(value)
        if isinstance(value, dict):
            return {key: self.walk(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)([self.walk(item, depth + 1) for item in value])
        if isinstance(value, set):
            return list(value)  # as protocols before 4 leave it, too
        if isinstance(value, Global | NumpyType | StorageKind | Storage):
            return str(value)
        return value


class Maker(Walker):
    """Makes tensors as views of the mapped file."""

    def __init__(self, memory: mmap.mmap, locate: Callable[[Storage], int]) -> None:
        super().__init__(self.view)
        self.memory, self.locate = memory, locate
        self.storages: dict[Storage, Tensor] = {}

    def make(self, content: Any) -> Any:
        """The content with its tensors."""
        return self.walk(content)

    def view(self, wanted: View) -> Tensor:
        """The tensor, proven to lie inside its storage."""
        storage = wanted.storage
        last = wanted.offset + sum(
            (size - 1) * stride for size, stride in zip(wanted.size, wanted.stride, strict=True)
        )
        num_elements = prod(wanted.size)
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

    def flat(self, storage: Storage) -> Tensor:
        """All numbers of a storage, without copying where the file aligns them, as torch does."""
        start = self.locate(storage)
        buffer: Any = self.memory
        if start % storage.dtype.itemsize:
            num_bytes = storage.num_elements * storage.dtype.itemsize
            buffer, start = bytearray(self.memory[start : start + num_bytes]), 0
        return torch.frombuffer(
            buffer, dtype=storage.dtype, count=storage.num_elements, offset=start
        )


def tensor_vocabulary() -> Vocabulary:
    tensors: dict[str, Constructor] = {
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch.Size": lambda arguments: tuple(arguments[0]) if arguments else (),
        "torch.device": lambda arguments: ":".join(f"{part:.20}" for part in arguments[:1]),
    }
    kinds = {
        f"{module}.{name}Storage": StorageKind(dtype)
        for name, dtype in _DTYPES.items()
        for module in ("torch", "torch.cuda")
    }
    dtypes = {str(dtype): str(dtype) for dtype in _DTYPES.values()}
    return Vocabulary(
        {**plain_constructors(), **tensors}, {**plain_values(), **kinds, **dtypes}, _persistent
    )


def _persistent(identity: Any) -> Storage:
    """A storage: ("storage", class, key, device, numbers) and, in old files, a view of it."""
    if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
        raise Refused("its pickle refers to something else than a storage")
    _, kind, key, _, num_elements, *view = identity
    if not isinstance(kind, StorageKind) or not isinstance(key, str):
        raise Refused("its pickle refers to something else than a storage", type(kind).__name__)
    if not _is_count(num_elements) or any(part is not None for part in view):
        raise Refused("its pickle refers to a storage of no size", type(num_elements).__name__)
    return Storage(key, kind.dtype, num_elements)


def _rebuild_tensor(arguments: tuple[Any, ...]) -> View:
    storage, offset, size, stride = arguments[:4]
    is_shape = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride)
    if not isinstance(storage, Storage) or not is_shape or not _is_count(offset):
        raise Refused("a tensor is described in an unknown way")
    if len(size) > 16 or not all(map(_is_count, (*size, *stride))):
        raise Refused("a tensor has an absurd shape", f"of {len(size)} axes")
    return View(storage, offset, size, stride)


def _rebuild_parameter(arguments: tuple[Any, ...]) -> View:
    if not arguments or not isinstance(arguments[0], View):
        raise Refused("a tensor is described in an unknown way")
    return arguments[0]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48
