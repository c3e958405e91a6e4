"""What the names in a checkpoint's pickle stand for: containers, paths, numpy's numbers.

Each entry is a function of ours on the arguments the file gives. Tensors are in `torch_files`.
"""

from __future__ import annotations

import struct
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from kouji.models.archives.pickles import (
    Attributes,
    Constructor,
    Global,
    Refused,
    is_config_class,
)

_PLAIN = ("bool", "dict", "float", "frozenset", "int", "list", "object", "set", "str", "tuple")


class NumpyType:
    """A numpy dtype of one number; its byte order follows as state."""

    def __init__(self, code: str) -> None:
        if code not in _FORMATS:
            raise Refused("it holds numpy data of an unknown kind", code)
        self.code, self.order = code, "<"

    def set_state(self, state: Any) -> None:
        """Take numpy's state: (version, byte order, ...)."""
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise Refused("it holds numpy data of an unknown kind", self.code)
        self.order = ">" if state[1] == ">" else "<"

    def unpack(self, data: bytes) -> bool | int | float:
        """The number those bytes are."""
        value: bool | int | float = struct.unpack(self.order + _FORMATS[self.code], data)[0]
        return value


_FORMATS = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q",
    "u1": "B", "u2": "H", "u4": "I", "u8": "Q", "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip


def _ordered(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    return _pairs(arguments[0] if arguments else [])


def _default(arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """A defaultdict, without its default: nobody here asks for what is not there."""
    return _pairs(arguments[1] if len(arguments) > 1 else [])


def _pairs(items: Any) -> dict[Any, Any]:
    if isinstance(items, dict):
        return dict(items)
    if not isinstance(items, list | tuple):
        raise Refused("its pickle is damaged", "a mapping without pairs")
    made: dict[Any, Any] = {}
    for pair in items:
        key, value = pair
        if not isinstance(key, str | bytes | int | float | None):
            raise Refused("its pickle has a key that is no text or number", type(key).__name__)
        made[key] = value
    return made


def _elements(arguments: tuple[Any, ...]) -> list[Any]:
    """The elements of a set, list or tuple that is called for by name."""
    items = arguments[0] if arguments else []
    if len(arguments) > 1 or not isinstance(items, list | tuple | set):
        raise Refused("its pickle is damaged", "a container without elements")
    return list(items)


def _encode(arguments: tuple[Any, ...]) -> bytes:
    """Bytes as protocol 2 writes them: text in latin-1."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Refused("its pickle is damaged", "text in an unknown encoding")
    return text.encode("latin-1")


def _reconstruct(arguments: tuple[Any, ...]) -> Attributes:
    """An object as protocols 0 and 1 write it."""
    kind = arguments[0]
    if not isinstance(kind, Global) or not is_config_class(kind):
        seen = kind if isinstance(kind, Global) else type(kind).__name__
        raise Refused("it asks for code that Kouji does not run", seen)
    return Attributes()


def _numpy_type(arguments: tuple[Any, ...]) -> NumpyType:
    return NumpyType(_text(arguments[0]).lstrip("<>|="))


def _numpy_scalar(arguments: tuple[Any, ...]) -> bool | int | float:
    kind, data = arguments
    if not isinstance(kind, NumpyType) or not isinstance(data, bytes):
        raise Refused("it holds numpy data of an unknown kind", type(data).__name__)
    return kind.unpack(data)


def _posix_path(arguments: tuple[Any, ...]) -> str:
    return str(PurePosixPath(*map(_text, arguments)))


def _windows_path(arguments: tuple[Any, ...]) -> str:
    return str(PureWindowsPath(*map(_text, arguments)))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused("its pickle is damaged", f"{type(value).__name__} in the place of text")
    return value


def plain_constructors() -> dict[str, Constructor]:
    """By full name: what may be built besides tensors."""
    table: dict[str, Constructor] = {
        "collections.OrderedDict": _ordered,
        "collections.defaultdict": _default,
        "_codecs.encode": _encode,
        "copyreg._reconstructor": _reconstruct,
        "copy_reg._reconstructor": _reconstruct,
        "numpy.dtype": _numpy_type,
    }
    for module in ("builtins", "__builtin__"):
        for name in ("set", "frozenset", "list", "tuple"):
            table[f"{module}.{name}"] = _elements
        table[f"{module}.dict"] = _ordered
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[f"{module}.scalar"] = _numpy_scalar
    for module in ("pathlib", "pathlib._local"):
        for name in ("PosixPath", "PurePosixPath", "Path", "PurePath"):
            table[f"{module}.{name}"] = _posix_path
        for name in ("WindowsPath", "PureWindowsPath"):
            table[f"{module}.{name}"] = _windows_path
    return table


def plain_values() -> dict[str, Any]:
    """By full name: what may only be mentioned, as the factory of a defaultdict is."""
    mentioned = set(_PLAIN) - {"set", "frozenset", "list", "tuple", "dict"}
    return {
        f"{module}.{name}": Global(module, name)
        for module in ("builtins", "__builtin__")
        for name in mentioned
    }
