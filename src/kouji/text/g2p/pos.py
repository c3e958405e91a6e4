"""Parts of speech of an English sentence, only as good as heteronyms need.

Feeds the CRF tagger that comes with the dictionary package (Penn tags), then corrects it where
a neighbour decides for certain. It does not know pronunciations.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from kouji.text.g2p.lexicon import data_folder

_WINDOW = 2
_PAST_HELPERS = frozenset(
    "have has had having 've i've you've we've they've was were be been".split()
)
_BASE_BEFORE = frozenset(
    "to will would can could shall should may might must do does did don't doesn't didn't won't "
    "can't couldn't wouldn't shouldn't let's please".split()
)
_STATE_BEFORE = frozenset("is are was were am be feel feels felt very quite so too".split())
_NOUN_BEFORE = frozenset("the a an this my your his its our their no every each another".split())


def tag(words: Sequence[str]) -> list[str]:
    """Penn tags of the words of one sentence, in their own case, punctuation as words."""
    if not words:
        return []
    tags = _tagger().tag([_features(words, index) for index in range(len(words))])
    return [_correct(words, tags, index) for index in range(len(words))]


def _correct(words: Sequence[str], tags: Sequence[str], index: int) -> str:
    """What the word before forbids or demands, whatever the tagger found likely."""
    before = words[index - 1].lower() if index else ""
    found = tags[index]
    if before in _BASE_BEFORE and found.startswith(("NN", "VB", "JJ")):
        return "VB"
    if before in _PAST_HELPERS and found in ("VB", "VBP", "NN"):
        return "VBN"
    if before in _STATE_BEFORE and found == "NN":
        return "JJ"
    if before in _NOUN_BEFORE and found in ("VB", "VBP", "VBZ"):
        return "NN"
    return found


def _features(words: Sequence[str], index: int) -> dict[str, str | float | bool]:
    """The model's view of one word: its edges and those of two neighbours on each side."""
    features: dict[str, str | float | bool] = {"bias": 1.0, **_shape(words[index], "")}
    for distance in range(1, _WINDOW + 1):
        if index >= distance:
            features.update(_shape(words[index - distance], f"-{distance}:"))
        if index + distance < len(words):
            features.update(_shape(words[index + distance], f"+{distance}:"))
    if index == 0:
        features["BOS"] = True
    if index == len(words) - 1:
        features["EOS"] = True
    return features


def _shape(word: str, prefix: str) -> dict[str, str | float | bool]:
    return {
        f"{prefix}word": base64.b64encode(word.encode("utf-8", "replace")).decode(),
        f"{prefix}len(word)": float(len(word)),
        f"{prefix}word.ispunctuation": not any(sign.isalnum() for sign in word),
        f"{prefix}word.isdigit()": word.isdigit(),
        f"{prefix}word[:2]": word[:2],
        f"{prefix}word[:3]": word[:3],
        f"{prefix}word[-2:]": word[-2:],
        f"{prefix}word[-3:]": word[-3:],
    }


class Tagger:
    """The linear-chain CRF of the dictionary package, safe to share between threads."""

    def __init__(self, path: str) -> None:
        import pycrfsuite

        self._tagger: Any = pycrfsuite.Tagger()
        self._tagger.open(path)
        self._lock = threading.Lock()

    def tag(self, features: list[dict[str, str | float | bool]]) -> list[str]:
        """The likeliest tags of one sentence."""
        with self._lock:
            return list(self._tagger.tag(features))


@lru_cache(maxsize=1)
def _tagger() -> Tagger:
    return Tagger(str(data_folder() / "pos" / "model.crf"))
