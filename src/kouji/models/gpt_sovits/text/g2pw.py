"""g2pW: a BERT that reads Chinese characters of several pronunciations in their sentence.

The official default where the folder `G2PWModel` lies beside the checkpoints. Characters it
knows are asked of the network, all at once; characters with one reading have a list, and
pypinyin reads the rest. g2pW reads traditional characters: Chen et al., "g2pW" (2022).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from kouji.errors import ModelError, UsageError
from kouji.models.gpt_sovits.bert import Vocabulary
from kouji.models.gpt_sovits.text.zh import Pinyin
from kouji.models.gpt_sovits.text.zh_override import find_readings
from kouji.models.gpt_sovits.text.zh_pinyin import read_sentence

MODEL_FILE = "g2pW.onnx"
_FILES = (
    MODEL_FILE,
    "POLYPHONIC_CHARS.txt",
    "MONOPHONIC_CHARS.txt",
    "bopomofo_to_pinyin_wo_tune_dict.json",
)
_CONTEXT = 16  # characters kept before the first and behind the last one asked for
# What the official code reads by pypinyin although the network, or the list, knows it.
_NOT_ASKED = frozenset("一不和咋嗲剖差攢倒難奔勁拗肖瘙誒泊听噢")
_NOT_LISTED = frozenset("似攢")


class Session(Protocol):
    """The part of an onnxruntime session that is used."""

    def run(self, outputs: Any, inputs: dict[str, Any]) -> list[Any]:
        """Probabilities (rows, labels) first."""
        ...


class G2PW:
    """Reads sentences; a `ReadSentence` of `zh_pinyin`.

    session:    the network
    encode:     token ids of a text, one per character and one at each end
    polyphonic: readings in bopomofo with tone of each character the network knows
    monophonic: the reading of each character that has one
    to_pinyin:  bopomofo without tone to pinyin
    per_character: labels are of a character and a reading, not of a reading
    """

    def __init__(
        self,
        session: Session,
        encode: Callable[[str], Sequence[int]],
        polyphonic: dict[str, list[str]],
        monophonic: dict[str, str],
        to_pinyin: dict[str, str],
        *,
        per_character: bool = False,
        is_masked: bool = True,
    ) -> None:
        self._session, self._encode, self._to_pinyin = session, encode, to_pinyin
        self._labels = _labels(polyphonic, per_character)
        places = {label: place for place, label in enumerate(self._labels)}
        self._allowed = {
            character: [places[_label(character, each, per_character)] for each in readings]
            for character, readings in polyphonic.items()
        }
        self._ids = {character: number for number, character in enumerate(sorted(polyphonic))}
        self._monophonic = {
            character: reading
            for character, reading in monophonic.items()
            if character not in _NOT_LISTED
        }
        self._is_masked = is_masked

    def __call__(self, sentence: str) -> list[str]:
        """Pinyin with tone of each character of a normalised sentence; marks as they are."""
        readings = read_sentence(sentence)
        if len(readings) != len(sentence):
            return readings
        traditional = to_traditional(sentence)
        asked = [
            place
            for place, character in enumerate(traditional)
            if character in self._allowed and character not in _NOT_ASKED
        ]
        for place, reading in zip(asked, self._ask(traditional, asked), strict=True):
            readings[place] = self._pinyin(reading) or readings[place]
        for place, character in enumerate(traditional):
            if place not in asked and character in self._monophonic:
                listed = self._pinyin(self._monophonic[character])
                readings[place] = listed or readings[place]
        return readings

    def _pinyin(self, bopomofo: str) -> str | None:
        body = self._to_pinyin.get(bopomofo[:-1])
        return body + bopomofo[-1] if body else None

    def _ask(self, sentence: str, places: list[int]) -> list[str]:
        """The likeliest reading of the characters at `places`, one row of a batch for each."""
        if not places:
            return []
        start = max(0, places[0] - _CONTEXT)
        text = sentence[start : places[-1] + _CONTEXT + 1].lower()
        ids = np.array([self._encode(text)] * len(places), dtype=np.int64)
        characters = [sentence[place] for place in places]
        inputs = {
            "input_ids": ids,
            "token_type_ids": np.zeros_like(ids),
            "attention_mask": np.ones_like(ids),
            "phoneme_mask": np.stack([self._mask(each) for each in characters]),
            "char_ids": np.array([self._ids[each] for each in characters], dtype=np.int64),
            "position_ids": np.array([place - start + 1 for place in places], dtype=np.int64),
        }
        probabilities = np.asarray(self._session.run(None, inputs)[0])
        labels = [self._labels[int(best)] for best in probabilities.argmax(axis=-1)]
        return [label.rpartition(" ")[2] for label in labels]

    def _mask(self, character: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(labels,) 1 where the label is a reading of the character."""
        mask = np.full(len(self._labels), 0.0 if self._is_masked else 1.0, dtype=np.float32)
        mask[self._allowed[character]] = 1.0
        return mask


def load_pinyin(folder: Path, vocabulary: Path, *, num_threads: int = 1) -> Pinyin:
    """How Chinese is read with the files of a folder `G2PWModel`, and the dictionary beside it.

    vocabulary:  the folder of the Chinese BERT the checkpoints use
    num_threads: of the network
    raises:      ModelError for a file that is missing or damaged
    """
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            "the folder of g2pW lacks files",
            seen=", ".join(missing),
            cure="fetch G2PWModel again, or leave it out to read Chinese by dictionary",
        )
    settings = _read_settings(folder / "config.py")
    reader = G2PW(
        _open_session(folder / MODEL_FILE, num_threads),
        Vocabulary.load(vocabulary).encode,
        _read_polyphonic(folder / "POLYPHONIC_CHARS.txt"),
        dict(_read_pairs(folder / "MONOPHONIC_CHARS.txt")),
        _read_map(folder / "bopomofo_to_pinyin_wo_tune_dict.json"),
        per_character=bool(settings.get("use_char_phoneme", False)),
        is_masked=bool(settings.get("use_mask", True)),
    )
    return Pinyin(reader, find_readings(folder))


def to_traditional(sentence: str) -> str:
    """Simplified characters as Taiwan writes them; unchanged where the length would change."""
    converted: str = _converter().convert(sentence)
    return converted if len(converted) == len(sentence) else sentence


@lru_cache(maxsize=1)
def _converter() -> Any:
    try:
        from opencc import OpenCC
    except ImportError as error:
        raise UsageError(
            "g2pW needs a library that is not installed",
            seen="no package opencc",
            cure="run: pip install 'kouji[gpt-sovits]'",
        ) from error
    return OpenCC("s2tw")


def _label(character: str, reading: str, per_character: bool) -> str:
    return f"{character} {reading}" if per_character else reading


def _labels(polyphonic: dict[str, list[str]], per_character: bool) -> list[str]:
    """The classes of the network, in their order."""
    return sorted(
        {
            _label(character, reading, per_character)
            for character, readings in polyphonic.items()
            for reading in readings
        }
    )


def _read_polyphonic(path: Path) -> dict[str, list[str]]:
    readings: dict[str, list[str]] = {}
    for character, reading in _read_pairs(path):
        readings.setdefault(character, []).append(reading)
    return readings


def _read_pairs(path: Path) -> list[tuple[str, str]]:
    """Lines of a character, a tabulator, a reading."""
    pairs = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        character, tab, reading = line.strip().partition("\t")
        if not line.strip():
            continue
        if not (character and tab and reading):
            raise ModelError(
                f"line {number} of {path.name} is no reading",
                seen=line[:80],
                allowed="a character, a tabulator, bopomofo with tone",
                cure="fetch the file again",
            )
        pairs.append((character, reading))
    return pairs


def _read_map(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ModelError(f"{path.name} is damaged", seen=error, cure="fetch it again") from error
    return {str(bopomofo): str(pinyin) for bopomofo, pinyin in dict(content).items()}


def _read_settings(path: Path) -> dict[str, Any]:
    """Constants assigned in a Python file, which is read and never run."""
    if not path.is_file():
        return {}
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except SyntaxError as error:
        raise ModelError(f"{path.name} is damaged", seen=error, cure="fetch it again") from error
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _open_session(path: Path, num_threads: int) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    try:
        session: Session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime has a dozen kinds, none of them documented
        raise ModelError("g2pW.onnx cannot be opened", seen=error, cure="fetch it again") from error
    return session
