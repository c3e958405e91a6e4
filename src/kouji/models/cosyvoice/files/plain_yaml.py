"""Reads the YAML of a model directory as plain data; nothing in it is imported, built or called.

The official files are written for a loader that constructs what they name (`!new:`, `!name:`,
`!apply:`) and computes what they refer to (`!ref <chunk_size> * <token_mel_ratio>`). Here a tag
leaves the mapping, list or text it stands before, and of references only arithmetic is computed.
Knows nothing of CosyVoice.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from kouji.errors import ModelError

MAX_BYTES = 128 << 10  # the official files have 7 kB
MAX_NODES, MAX_DEPTH = 20_000, 40  # where aliases are written out
MAX_CHARACTERS, MAX_NUMBER = 2_000, 1e15  # of what a reference comes to
_STANDARD = "tag:yaml.org,2002:"
_MERGE = _STANDARD + "merge"
_REF = "!ref"
_NAMED = re.compile(r"<([^<>]*)>")
_PATH = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_STEP = re.compile(r"\[([^\[\]]*)\]")
_ARITHMETIC = re.compile(r"[\d\s.eE+\-*/%()]*")
_EXPONENT = re.compile(r"[-+]?\d+[eE][-+]?\d+")  # of YAML 1.2; PyYAML takes 1e-06 for text
_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def read_yaml(path: Path) -> dict[str, Any]:
    """The file's mappings, lists, numbers and text, with its references resolved.

    raises: ModelError for what is no YAML, too large or nested without end, and for references
            to nothing or to themselves
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            "a model's YAML cannot be read", seen=f"{path}: {error.strerror}"
        ) from error
    return parse_yaml(data, path)


def parse_yaml(data: bytes | str, source: object) -> dict[str, Any]:
    """As `read_yaml`; `source` names the file in errors."""
    if len(data) > MAX_BYTES:
        raise _refuse(source, f"{len(data)} bytes", f"{MAX_BYTES} bytes")
    try:
        node = yaml.compose(data, Loader=yaml.SafeLoader)
        document = _Reader().read(node) if node is not None else None
        if not isinstance(document, dict):
            raise _Fault("it holds no mapping")
        return _Resolver(document).resolve_all()
    except _Fault as fault:
        raise _refuse(source, str(fault)) from fault
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise _refuse(source, " ".join(str(error).split())[:300]) from error
    except RecursionError as error:
        raise _refuse(source, "nested without end") from error


class _Fault(Exception):
    """Why a document was not read."""


def _refuse(source: object, seen: str, allowed: str | None = None) -> ModelError:
    return ModelError(
        "a model's YAML cannot be used",
        seen=f"{source}: {seen}",
        allowed=allowed or "the file as it comes with the model",
        cure="get it again, from where the weights came",
    )


@dataclass(frozen=True)
class _Reference:
    """What stands behind `!ref`."""

    text: str


class _Reader:
    """Turns nodes into plain values; aliases are written out, so their number is bounded."""

    def __init__(self) -> None:
        self.num_nodes = 0
        self.scalars = SafeConstructor()

    def read(self, node: yaml.Node, depth: int = 0) -> Any:
        self.num_nodes += 1
        if self.num_nodes > MAX_NODES or depth > MAX_DEPTH:
            raise _Fault("its content is nested or repeated without end")
        if str(node.tag).startswith(_STANDARD + "python"):
            raise _Fault(f"it asks for code that Kouji does not run, {str(node.tag)[:80]}")
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, depth + 1) for item in node.value]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            value = self.read(value_node, depth + 1)
            if key_node.tag == _MERGE:
                for source in value if isinstance(value, list) else [value]:
                    if not isinstance(source, dict):
                        raise _Fault("it merges what is no mapping")
                    merged = {**source, **merged}
                continue
            key = self.read(key_node, depth + 1)
            if isinstance(key, dict | list | _Reference):
                raise _Fault("a key is no plain word")
            if str(key) in own:
                raise _Fault(f"the key {str(key)[:80]} stands there twice")
            own[str(key)] = value
        return merged | own

    def scalar(self, node: yaml.Node) -> Any:
        text, tag = str(node.value), str(node.tag)
        if tag == _REF:
            return _Reference(text)
        if not tag.startswith(_STANDARD):
            return text or {}  # `!name:some.function` without arguments
        if tag == _STANDARD + "str" and getattr(node, "style", None) is None:
            return float(text) if _EXPONENT.fullmatch(text) else text
        return self.scalars.construct_object(node)


class _Resolver:
    """Replaces references by what they name; every one is computed once."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.known: dict[str, Any] = {}
        self.under_way: list[str] = []

    def resolve_all(self) -> dict[str, Any]:
        return {key: self.resolve(value) for key, value in self.document.items()}

    def resolve(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        return self.compute(value.text) if isinstance(value, _Reference) else value

    def compute(self, text: str) -> Any:
        """`<name>` is what the name stands for; with more around it arithmetic, or else text."""
        names = _NAMED.findall(text)
        if not names:
            raise _Fault(f"!ref {text[:80]} names nothing in < >")
        values = [self.look_up(name) for name in names]
        if text.strip() == f"<{names[0]}>":
            return values[0]
        is_number = [isinstance(v, int | float) and not isinstance(v, bool) for v in values]
        if all(is_number) and _ARITHMETIC.fullmatch(_NAMED.sub("", text)):
            numbers = iter(values)
            return _calculate(_NAMED.sub(lambda _: f"({next(numbers)!r})", text), text)
        if any(isinstance(value, dict | list) for value in values):
            raise _Fault(f"!ref {text[:80]} joins text with what is none")
        parts = iter(values)
        joined = _NAMED.sub(lambda _: str(next(parts)), text)
        if len(joined) > MAX_CHARACTERS:
            raise _Fault(f"!ref {text[:80]} makes an absurdly long text")
        return joined

    def look_up(self, name: str) -> Any:
        """The value of `key` or `key[inner]`, itself resolved."""
        if name in self.known:
            return self.known[name]
        if name in self.under_way:
            circle = " -> ".join([*self.under_way[self.under_way.index(name) :], name])
            raise _Fault(f"references go round in a circle: {circle[:200]}")
        path = _PATH.fullmatch(name.strip())
        if path is None:
            raise _Fault(f"<{name[:80]}> is no name")
        self.under_way.append(name)
        value: Any = self.document
        for step in (path[1], *_STEP.findall(path[2])):
            value = self.inside(value, step.strip(), name)
        self.known[name] = self.resolve(value)
        self.under_way.pop()
        return self.known[name]

    def inside(self, value: Any, step: str, name: str) -> Any:
        """One step of a path; what stands on the way may be a reference."""
        if isinstance(value, _Reference):
            value = self.compute(value.text)
        if isinstance(value, dict) and step in value:
            return value[step]
        if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            return value[int(step)]
        known = ", ".join(list(value)[:8]) if isinstance(value, dict) else "nothing of that name"
        raise _Fault(f"<{name[:80]}> refers to {step[:80]}, there is {known[:300]}")


def _calculate(expression: str, shown: str) -> int | float:
    """The value of numbers, + - * / // % and parentheses."""
    try:
        if len(expression) > MAX_CHARACTERS:
            raise ValueError("too long")
        return _value_of(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ArithmeticError, MemoryError) as error:
        raise _Fault(f"!ref {shown[:80]} cannot be calculated: {str(error)[:100]}") from error


def _value_of(node: ast.expr) -> int | float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        value: Any = node.value
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        inner = _value_of(node.operand)
        value = -inner if isinstance(node.op, ast.USub) else inner
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        value = _OPERATORS[type(node.op)](_value_of(node.left), _value_of(node.right))
    else:
        raise ValueError("only + - * / // % and parentheses")
    if not abs(value) <= MAX_NUMBER:
        raise ValueError("absurdly large")
    result: int | float = value
    return result
