"""What an ONNX file takes and gives, read off its graph without opening the network.

The two networks that hear are large and opened at the first voice; that a file is whole and the
right one is told before, when a model is loaded or looked at. Walks protobuf fields over the
mapped file and skips the weights; runs nothing and needs no library.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kouji.errors import ModelError
from kouji.models.cosyvoice.config import SPEAKER_WIDTH

TOKENIZER_MELS = 128
FBANK_MELS = 80
CURE = "take the file from the model's publisher again"
_MAX_VARINT_BYTES = 10
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
# Fields of onnx.proto.
_GRAPH, _INITIALIZER, _INPUT, _OUTPUT = 7, 5, 11, 12
_TENSOR_NAME = 8
_NAME, _TYPE, _TENSOR_TYPE, _ELEMENT, _SHAPE, _DIM, _DIM_VALUE = 1, 2, 1, 1, 2, 1, 1
_ELEMENTS = {1: "tensor(float)", 6: "tensor(int32)", 7: "tensor(int64)", 10: "tensor(float16)",
             11: "tensor(double)"}  # fmt: skip


class _Broken(Exception):
    """The bytes are no whole message."""


@dataclass(frozen=True)
class Port:
    """What an input or output must be; None stands for any length."""

    dtypes: tuple[str, ...]
    shape: tuple[int | None, ...] | None = None

    def fits(self, dtype: str, shape: Sequence[object] | None) -> bool:
        """Whether a file's own description is this; a length it leaves open may be any."""
        if dtype not in self.dtypes:
            return False
        if self.shape is None or shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            wanted is None or not isinstance(seen, int) or seen == wanted
            for wanted, seen in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else shown(self.shape)
        return f"{' or '.join(self.dtypes)} {shape}"


@dataclass(frozen=True)
class Described:
    """An input or output as a file describes it; shape None: it does not say."""

    dtype: str
    shape: Sequence[object] | None


@dataclass(frozen=True)
class Ports:
    """What a network is called in errors, and what it takes and gives by position."""

    label: str
    inputs: tuple[Port, ...]
    output: Port

    def require(
        self, path: Path, inputs: Sequence[Described], outputs: Sequence[Described]
    ) -> None:
        """Raise ModelError unless a file's first inputs and output are these."""
        if len(inputs) != len(self.inputs) or not outputs:
            seen = f"{len(inputs)}" if outputs else f"{len(inputs)}, and no output"
            raise self._misfit(path, "inputs", seen, f"{len(self.inputs)}, and an output")
        pairs = [*zip(inputs, self.inputs, strict=True), (outputs[0], self.output)]
        for place, (found, wanted) in enumerate(pairs):
            if not wanted.fits(found.dtype, found.shape):
                what = f"input {place}" if place < len(self.inputs) else "output 0"
                seen = f"{found.dtype} {shown(found.shape)}"
                raise self._misfit(path, what, seen, str(wanted))

    def _misfit(self, path: Path, what: str, seen: str, allowed: str) -> ModelError:
        return ModelError(
            f"{path.name} is not the {self.label}",
            seen=f"{what}: {seen}",
            allowed=f"{what}: {allowed}",
            cure=CURE,
        )


_FLOAT, _INT32 = ("tensor(float)",), ("tensor(int32)",)
SPEECH_TOKENIZER = Ports(
    "speech tokenizer",
    (Port(_FLOAT, (1, TOKENIZER_MELS, None)), Port(_INT32, (1,))),
    Port(("tensor(int32)", "tensor(int64)")),
)
CAMPPLUS = Ports(
    "speaker network CAM++",
    (Port(_FLOAT, (1, None, FBANK_MELS)),),
    Port(_FLOAT, (1, SPEAKER_WIDTH)),
)


def require_ports(path: Path, ports: Ports) -> None:
    """Raise ModelError unless a file is a whole ONNX model with these inputs and this output."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            inputs, outputs = _read_model(data)
    except (_Broken, ValueError) as error:
        raise _unreadable(path, ports, str(error)) from error
    except OSError as error:
        raise _unreadable(path, ports, str(error.strerror)) from error
    ports.require(path, inputs, outputs)


def shown(shape: Sequence[object] | None) -> str:
    """A shape for people."""
    lengths = ["any" if not isinstance(length, int) else str(length) for length in shape or ()]
    return f"[{', '.join(lengths)}]"


def _unreadable(path: Path, ports: Ports, seen: str) -> ModelError:
    return ModelError(
        f"cannot open the {ports.label}",
        seen=f"{path}: {seen}",
        allowed="a whole ONNX file",
        cure=CURE,
    )


# --- protobuf


def _read_model(data: mmap.mmap) -> tuple[list[Described], list[Described]]:
    graphs = [span for number, span in _fields(data, 0, len(data)) if number == _GRAPH]
    if len(graphs) != 1 or isinstance(graphs[0], int):
        raise _Broken("it holds no graph")
    inputs: list[tuple[str, Described]] = []
    outputs: list[tuple[str, Described]] = []
    weights = set()
    for number, span in _fields(data, *graphs[0]):
        if isinstance(span, int):
            continue
        if number == _INITIALIZER:  # older exports list their weights among the inputs
            weights.add(_text(data, span, _TENSOR_NAME))
        elif number in (_INPUT, _OUTPUT):
            (inputs if number == _INPUT else outputs).append(
                (_text(data, span, _NAME), _describe(data, span))
            )
    taken = [each for name, each in inputs if name not in weights]
    return taken, [each for _, each in outputs]


def _describe(data: mmap.mmap, info: tuple[int, int]) -> Described:
    kind = _message(data, _message(data, info, _TYPE), _TENSOR_TYPE)
    element, shape = 0, None
    for number, span in _fields(data, *(kind or (0, 0))):
        if number == _ELEMENT and isinstance(span, int):
            element = span
        elif number == _SHAPE and not isinstance(span, int):
            dims = [each for field, each in _fields(data, *span) if field == _DIM]
            shape = [None if isinstance(dim, int) else _length(data, dim) for dim in dims]
    return Described(_ELEMENTS.get(element, f"elements of kind {element}"), shape)


def _length(data: mmap.mmap, dim: tuple[int, int]) -> int | None:
    for number, value in _fields(data, *dim):
        if number == _DIM_VALUE and isinstance(value, int):
            return value
    return None


def _message(data: mmap.mmap, span: tuple[int, int] | None, wanted: int) -> tuple[int, int] | None:
    for number, inner in _fields(data, *(span or (0, 0))):
        if number == wanted and not isinstance(inner, int):
            return inner
    return None


def _text(data: mmap.mmap, span: tuple[int, int], wanted: int) -> str:
    found = _message(data, span, wanted)
    return data[slice(*found)].decode("utf-8", "replace") if found else ""


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """Numbers of the fields between two places, each with its value or where its bytes lie."""
    while start < end:
        key, start = _varint(data, start, end)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _Broken("its bytes are no ONNX")
        if wire == _VARINT:
            value, start = _varint(data, start, end)
            yield number, value
            continue
        if wire == _BYTES:
            size, start = _varint(data, start, end)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _Broken("its bytes are no ONNX")
        if start + size > end:
            raise _Broken(f"it is cut off or damaged at byte {start} of {len(data)}")
        yield number, (start, start + size)
        start += size


def _varint(data: mmap.mmap, start: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(min(_MAX_VARINT_BYTES, end - start)):
        byte = data[start + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, start + place + 1
    raise _Broken(f"it is cut off or damaged at byte {start} of {len(data)}")
