"""g2pW: a BERT that reads Chinese characters of several readings by their sentence.

Opens the official folder `G2PWModel` (g2pW.onnx with its tables) and gives one pinyin per
character, as `zh.Pinyin.read` wants it. Knows no words: a dictionary corrects its output later.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kouji.errors import ModelError
from kouji.models.gpt_sovits.bert import Vocabulary
from kouji.models.gpt_sovits.text.g2pw_tables import NETWORK, Tables
from kouji.models.gpt_sovits.text.zh_pinyin import read_sentence
from kouji.models.optional import import_library

CONTEXT_CHARACTERS = 16  # read on either side of the first and the last character asked for
MAX_CHARACTERS = 510  # of one input, without [CLS] and [SEP]


class Session(Protocol):
    """The part of an ONNX Runtime session that is used here."""

    def run(
        self, outputs: Sequence[str] | None, inputs: dict[str, NDArray[Any]]
    ) -> Sequence[NDArray[np.float32]]:
        """Probabilities (queries, labels) first."""
        ...


class G2PW:
    """Sentences of simplified hanzi and marks to pinyin; safe to call from several threads."""

    def __init__(
        self,
        folder: str | Path,
        *,
        vocabulary: Vocabulary | None = None,
        session: Session | None = None,
        num_threads: int = 2,
    ) -> None:
        """Open an official folder.

        vocabulary: tokens of the network, those of the Chinese RoBERTa; None looks for a vocab.txt
                    or tokenizer.json in the folder
        session:    replaces the one over g2pW.onnx
        Raises ModelError for a folder that is not whole, UsageError without opencc.
        """
        folder = Path(folder)
        self._tables = Tables.load(folder)
        self._vocabulary = vocabulary or Vocabulary.load(folder)
        self._session = session or _open_session(folder / NETWORK, num_threads)
        _to_traditional("")  # tell at once when the library is missing

    def __call__(self, sentence: str) -> list[str]:
        """One reading per character of one sentence; marks are themselves."""
        return self.pinyin([sentence])[0]

    def pinyin(self, sentences: Sequence[str]) -> list[list[str]]:
        """One reading per character of every sentence, such as `zhong1`; marks are themselves."""
        return [self._read(sentence) for sentence in sentences]

    def _read(self, sentence: str) -> list[str]:
        readings = read_sentence(sentence)
        if len(readings) != len(sentence):  # never seen; whole runs of foreign signs may join
            readings = [reading for sign in sentence for reading in read_sentence(sign)]
        traditional = _to_traditional(sentence)
        for place, sign in enumerate(traditional):
            readings[place] = self._tables.fixed_reading(sign) or readings[place]
        asked = [place for place, sign in enumerate(traditional) if self._tables.is_asked(sign)]
        for group in _windows(asked):
            for place, reading in zip(group, self._ask(traditional, group), strict=True):
                readings[place] = reading or readings[place]
        return readings

    def _ask(self, sentence: str, places: Sequence[int]) -> list[str | None]:
        """What the network says of several characters of one sentence."""
        start = max(0, places[0] - CONTEXT_CHARACTERS)
        context = sentence[start : places[-1] + CONTEXT_CHARACTERS + 1]
        ids = np.array([self._vocabulary.encode(context)] * len(places), dtype=np.int64)
        signs = [sentence[place] for place in places]
        inputs: dict[str, NDArray[Any]] = {
            "input_ids": ids,
            "token_type_ids": np.zeros_like(ids),
            "attention_mask": np.ones_like(ids),
            "phoneme_mask": self._masks(signs),
            "char_ids": np.array([self._tables.numbers[sign] for sign in signs], dtype=np.int64),
            "position_ids": np.array([place - start + 1 for place in places], dtype=np.int64),
        }
        probabilities = self._session.run(None, inputs)[0]
        if probabilities.shape != inputs["phoneme_mask"].shape:
            raise ModelError(
                "the network of g2pW does not fit its tables",
                seen=f"{probabilities.shape} probabilities",
                allowed=f"{inputs['phoneme_mask'].shape}, queries and labels",
                cure="take all files from one G2PWModel folder",
            )
        return [self._tables.reading(int(label)) for label in np.argmax(probabilities, axis=1)]

    def _masks(self, signs: Sequence[str]) -> NDArray[np.float32]:
        """(queries, labels) 1 for the readings a character can have, all 1 without a mask."""
        masks = np.ones((len(signs), len(self._tables.labels)), dtype=np.float32)
        if self._tables.uses_mask:
            masks[:] = 0
            for row, sign in enumerate(signs):
                masks[row, list(self._tables.asked[sign])] = 1
        return masks


def _windows(places: Iterable[int]) -> Iterator[list[int]]:
    """Places in groups whose context fits the network."""
    group: list[int] = []
    for place in places:
        if group and place - group[0] + 2 * CONTEXT_CHARACTERS + 1 > MAX_CHARACTERS:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _to_traditional(sentence: str) -> str:
    """Simplified to Taiwan's characters, sign by sign where a phrase would change its length."""
    converter = _converter()
    converted = str(converter.convert(sentence))
    if len(converted) == len(sentence):
        return converted
    signs = (str(converter.convert(sign)) for sign in sentence)
    return "".join(new if len(new) == 1 else old for old, new in zip(sentence, signs, strict=True))


def _open_session(path: Path, num_threads: int) -> Session:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    try:
        session: Session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # the library raises classes of its own for every bad file
        raise ModelError(
            "the network of g2pW cannot be opened", seen=f"{path}: {error}", cure="fetch it again"
        ) from error
    return session


@lru_cache(maxsize=1)
def _converter() -> Any:
    return import_library("opencc", "g2pW").OpenCC("s2tw")
