"""Reads pickles as data: a machine of our own that builds containers and never calls anything.

`pickletools` splits the stream into opcodes; this machine gives each the meaning it has for plain
containers, numbers and text. A name the stream mentions is looked up in a table of ours
(`pickle_names`), never imported, so a hostile file can ask for `os.system` and is told no. The
machine knows nothing of torch: who reads a checkpoint brings the names of tensors.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol, runtime_checkable

from kouji.errors import ModelError

MAX_OPCODES = 5_000_000  # a checkpoint with optimiser states has some 200,000
MAX_INTEGER_BITS = 128
# What `pickletools` and the machine raise on a stream that is cut off or makes no sense.
_DAMAGE = (
    ValueError, TypeError, IndexError, KeyError, OverflowError, AssertionError, struct.error
)  # fmt: skip

Key = str | bytes | int | float | None
Constructor = Callable[[tuple[Any, ...]], Any]


class Stream(Protocol):
    """What `pickletools` reads from."""

    def read(self, size: int, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def tell(self) -> int: ...


@dataclass(frozen=True)
class Global:
    """A name the stream mentions; nothing is imported for it."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Attributes(dict[str, Any]):
    """An object that is only a bag of attributes, as a mapping."""


@runtime_checkable
class Buildable(Protocol):
    """A value that takes the state which follows it in the stream."""

    def set_state(self, state: Any) -> None: ...


@dataclass(frozen=True)
class Vocabulary:
    """What the names of a stream stand for.

    constructors: called with the arguments the stream gives; all of them are our own code
    values:       names that are only mentioned, such as a storage class in a persistent id
    persistent:   turns a persistent id into a value
    """

    constructors: Mapping[str, Constructor]
    values: Mapping[str, Any]
    persistent: Callable[[Any], Any] | None = None


class Refused(Exception):
    """Why a stream was not read; `load_pickle` turns it into a ModelError with the file's name."""

    def __init__(self, what: str, seen: object = None) -> None:
        self.what, self.seen = what, seen
        super().__init__(what)


def load_pickle(stream: Stream, vocabulary: Vocabulary, source: object) -> Any:
    """The value of one pickle, of protocol 0 to 5; the stream is left behind its end.

    source: names the file in errors
    raises: ModelError for a truncated or hostile stream, naming the forbidden name
    """
    try:
        return _Machine(vocabulary).run(stream)
    except Refused as error:
        raise refusal(error, source) from error
    except _DAMAGE as error:
        raise refusal(Refused("its pickle is damaged", error), source) from error


def refusal(error: Refused, source: object) -> ModelError:
    """The error a user meets for a file that was not read."""
    seen = str(source) if error.seen is None else f"{source}: {printable(str(error.seen))}"
    return ModelError(
        f"this checkpoint is not read, {error.what}",
        seen=seen,
        allowed="tensors, numbers, text, lists and mappings; nothing that runs code",
        cure="get the file again from its source; until then open it with no other program",
    )


def printable(text: str, most: int = 200) -> str:
    """Text of a foreign file as an error may show it: no control characters, not endless."""
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:most]
    )


class _Machine:
    """Stack, marks and memo of one stream."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: Stream) -> Any:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
            if count > MAX_OPCODES:
                raise Refused("its pickle is endless", f"over {MAX_OPCODES} steps")
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            if name in _PUSHED:
                self.stack.append(_small(argument))
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name]())
            elif name in _STEPS:
                _STEPS[name](self, argument)
            elif name not in ("PROTO", "FRAME"):
                raise Refused("its pickle uses an unknown step", name)
        raise Refused("its pickle is damaged", "no end")

    def pop_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    # --- containers

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise Refused("its pickle appends to something else than a list", _kind(target))
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise Refused("its pickle sets items of something else than a mapping", _kind(target))
        target.update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, set):
            raise Refused("its pickle adds to something else than a set", _kind(target))
        target.update(map(_key, items))

    def pack(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError("stack underflow")
        start = len(self.stack) - count
        self.stack[start:] = [tuple(self.stack[start:])]

    # --- names

    def mention(self, module: Any, name: Any) -> None:
        """Push a name, if it is one of the few with a meaning here."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Refused("its pickle names something that is no name", _kind(name))
        found = Global(module, name)
        if str(found) in self.vocabulary.values:
            self.stack.append(self.vocabulary.values[str(found)])
        elif self.is_constructor(found):
            self.stack.append(found)
        else:
            raise Refused("it asks for code that Kouji does not run", found)

    def is_constructor(self, found: Global) -> bool:
        return str(found) in self.vocabulary.constructors or is_config_class(found)

    def construct(self, function: Any, arguments: Any) -> None:
        """Push what our table builds for a name and its arguments."""
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise Refused("it calls something that is no name", _kind(function))
        if is_config_class(function):
            self.stack.append(Attributes())
            return
        constructor = self.vocabulary.constructors.get(str(function))
        if constructor is None:
            raise Refused("it asks for code that Kouji does not run", function)
        self.stack.append(constructor(arguments))

    def build(self) -> None:
        """Give the topmost object its state."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Attributes):
            parts = state if isinstance(state, tuple) else (state,)
            for part in parts:
                if part is not None and not isinstance(part, dict):
                    raise Refused("its config has no attributes", _kind(part))
                target.update(part or {})
        elif isinstance(target, Buildable):
            target.set_state(state)
        elif not isinstance(target, dict):  # attributes of an OrderedDict: torch's _metadata
            raise Refused("its pickle changes something else than a config", _kind(target))

    def persistent(self, identity: Any) -> None:
        if self.vocabulary.persistent is None:
            raise Refused("its pickle refers to data outside", _kind(identity))
        self.stack.append(self.vocabulary.persistent(identity))


def is_config_class(found: Global) -> bool:
    """True for the attribute bag GPT-SoVITS keeps its config in, under any package."""
    is_params = found.name == "HParams" and found.module.rpartition(".")[2] == "utils"
    return is_params or str(found) in _BAGS


_BAGS = {
    "argparse.Namespace",
    "types.SimpleNamespace",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
}


def _key(value: Any) -> Key:
    """Keys are plain: hashing a deep tuple could overflow the interpreter's stack."""
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    raise Refused("its pickle has a key that is no text or number", _kind(value))


def _small(value: Any) -> Any:
    """Refuse integers so long that showing them in an error would itself be one."""
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise Refused("its pickle holds an absurd number", f"of {value.bit_length()} bits")
    return value


def _kind(value: Any) -> str:
    return str(value) if isinstance(value, Global) else type(value).__name__


def _refuse_buffers(_machine: _Machine, _: Any) -> NoReturn:
    raise Refused("its pickle refers to data outside", "an out-of-band buffer")


def _refuse_extension(_machine: _Machine, number: Any) -> NoReturn:
    raise Refused("it asks for code that Kouji does not run", f"extension {number}")


_PUSHED = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set,
}  # fmt: skip


def _remember(machine: _Machine, place: int) -> None:
    machine.memo[place] = machine.stack[-1]


def _recall(machine: _Machine, place: int) -> None:
    machine.stack.append(machine.memo[place])


def _pop(machine: _Machine, _: Any) -> None:
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.stack.pop()


def _pop_all(machine: _Machine, _: Any) -> None:
    machine.pop_mark()


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.construct(function, arguments)


def _new_with_keywords(machine: _Machine, _: Any) -> None:
    keywords, arguments, function = (machine.stack.pop() for _ in range(3))
    if keywords:
        raise Refused("it calls something with keywords", _kind(function))
    machine.construct(function, arguments)


def _instance(machine: _Machine, argument: str) -> None:
    arguments = tuple(machine.pop_mark())
    machine.mention(*argument.split(" ", 1))
    machine.construct(machine.stack.pop(), arguments)


def _object(machine: _Machine, _: Any) -> None:
    function, *arguments = machine.pop_mark()
    machine.construct(function, tuple(arguments))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.mention(module, name)


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": _pop,
    "POP_MARK": _pop_all,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    "PUT": _remember, "BINPUT": _remember, "LONG_BINPUT": _remember,
    "MEMOIZE": lambda machine, _: _remember(machine, len(machine.memo)),
    "GET": _recall, "BINGET": _recall, "LONG_BINGET": _recall,
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_mark())),
    "TUPLE1": lambda machine, _: machine.pack(1),
    "TUPLE2": lambda machine, _: machine.pack(2),
    "TUPLE3": lambda machine, _: machine.pack(3),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_mark()),
    "APPEND": lambda machine, _: machine.extend([machine.stack.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_mark()),
    "DICT": lambda machine, _: _new_dict(machine),
    "SETITEM": lambda machine, _: _set_item(machine),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "ADDITEMS": lambda machine, _: machine.add_items(machine.pop_mark()),
    "FROZENSET": lambda machine, _: machine.stack.append({*map(_key, machine.pop_mark())}),
    "GLOBAL": lambda machine, argument: machine.mention(*argument.split(" ", 1)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce, "NEWOBJ": _reduce, "NEWOBJ_EX": _new_with_keywords,
    "INST": _instance, "OBJ": _object,
    "BUILD": lambda machine, _: machine.build(),
    "BINPERSID": lambda machine, _: machine.persistent(machine.stack.pop()),
    "PERSID": lambda machine, argument: machine.persistent(argument),
    "NEXT_BUFFER": _refuse_buffers, "READONLY_BUFFER": _refuse_buffers,
    "EXT1": _refuse_extension, "EXT2": _refuse_extension, "EXT4": _refuse_extension,
}  # fmt: skip


def _new_dict(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.stack.append({})
    machine.set_items(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items([key, value])
