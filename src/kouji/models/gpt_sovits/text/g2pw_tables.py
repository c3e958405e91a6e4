"""The tables beside the network of g2pW: which characters it is asked about, and its labels.

Reads the official folder's text files. Its config.py is read as plain values and never executed.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kouji.errors import ModelError

NETWORK = "g2pW.onnx"
_FILES = ("POLYPHONIC_CHARS.txt", "MONOPHONIC_CHARS.txt", "bopomofo_to_pinyin_wo_tune_dict.json")
# Characters the official code takes from pypinyin although the tables list them.
_NEVER_ASKED = frozenset("一不和咋嗲剖差攢倒難奔勁拗肖瘙誒泊听噢")
_NEVER_FIXED = frozenset("似攢")


@dataclass(frozen=True)
class Tables:
    """What the folder says of characters, in traditional Chinese and bopomofo.

    labels:  readings in the order of the network's output, after "字 " where a label is a
             character with its reading
    asked:   characters of several readings and the labels each can have
    numbers: the network's number of each such character
    fixed:   characters of one reading
    pinyin:  bopomofo without tone -> pinyin without tone
    uses_mask: the network is told which labels a character can have
    """

    labels: tuple[str, ...]
    asked: dict[str, tuple[int, ...]]
    numbers: dict[str, int]
    fixed: dict[str, str]
    pinyin: dict[str, str]
    uses_mask: bool

    @classmethod
    def load(cls, folder: Path) -> Tables:
        """Read the tables of an official folder; ModelError for what is missing or no table."""
        missing = [name for name in (NETWORK, *_FILES) if not (folder / name).is_file()]
        if missing:
            raise ModelError(
                "the folder of g2pW is not whole",
                seen=f"{folder} lacks {', '.join(missing)}",
                cure="unpack G2PWModel_1.1.zip there",
            )
        config = _read_config(folder / "config.py")
        named = bool(config.get("use_char_phoneme", False))
        pairs = list(_read_pairs(folder / _FILES[0]))
        names = [f"{sign} {reading}" if named else reading for sign, reading in pairs]
        labels = sorted(set(names))
        numbers = {label: number for number, label in enumerate(labels)}
        asked: dict[str, tuple[int, ...]] = {}
        for (sign, _), name in zip(pairs, names, strict=True):
            asked[sign] = (*asked.get(sign, ()), numbers[name])
        return cls(
            labels=tuple(labels),
            asked=asked,
            numbers={sign: number for number, sign in enumerate(sorted(asked))},
            fixed=dict(_read_pairs(folder / _FILES[1])),
            pinyin=_read_json(folder / _FILES[2]),
            uses_mask=bool(config.get("use_mask", True)),
        )

    def is_asked(self, sign: str) -> bool:
        """True for a character only the network can read."""
        return sign in self.asked and sign not in _NEVER_ASKED

    def fixed_reading(self, sign: str) -> str | None:
        """Pinyin of a character of one reading, None for all others."""
        is_fixed = sign in self.fixed and sign not in _NEVER_FIXED
        return self.to_pinyin(self.fixed[sign]) if is_fixed else None

    def reading(self, label: int) -> str | None:
        """Pinyin of one of the network's labels, None where the table has no such syllable."""
        return self.to_pinyin(self.labels[label].split()[-1])

    def to_pinyin(self, bopomofo: str) -> str | None:
        """Pinyin with tone of one reading, None where the table has no such syllable."""
        syllable = self.pinyin.get(bopomofo[:-1])
        return f"{syllable}{bopomofo[-1]}" if syllable and bopomofo[-1] in "12345" else None


def _read_pairs(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_read_text(path).splitlines(), 1):
        sign, tab, reading = line.strip().partition("\t")
        if not line.strip():
            continue
        if not tab or len(sign) != 1 or not reading:
            raise ModelError(
                f"line {number} of {path.name} is no character with its reading",
                seen=line[:40],
                allowed="a character, a tab, bopomofo with its tone",
                cure="fetch the file again",
            )
        yield sign, reading


def _read_json(path: Path) -> dict[str, str]:
    try:
        content = json.loads(_read_text(path))
    except ValueError as error:
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} holds no table", seen=type(content).__name__)
    return {str(key): str(value) for key, value in content.items()}


def _read_config(path: Path) -> dict[str, object]:
    """The plain assignments of a config.py; it is data, so nothing of it runs."""
    if not path.is_file():
        return {}
    try:
        statements = ast.parse(_read_text(path)).body
    except (SyntaxError, ValueError) as error:
        raise _unreadable(path, error) from error
    found: dict[str, object] = {}
    for statement in statements:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
            names = (target.id for target in statement.targets if isinstance(target, ast.Name))
            found.update(dict.fromkeys(names, statement.value.value))
    return found


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(f"{path.name} cannot be read", seen=error, cure="fetch the file again")
