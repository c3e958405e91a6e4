"""Text to ids of the language model: Qwen2's byte-level BPE and the words CosyVoice adds.

Equal to the official tokenizer. Words it adds are told before anything else happens to a text,
literally and with case, and whoever lets users write decides whether they may write them:
`encode` takes them for what they are, `encode_plain` for the characters they are made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kouji.errors import ModelError
from kouji.models.archives.pickles import printable
from kouji.models.cosyvoice.config import Version
from kouji.models.cosyvoice.text.special_tokens import END_OF_TEXT, SPECIAL_TOKENS
from kouji.models.optional import import_library

if TYPE_CHECKING:
    import tokenizers

VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
MAX_VOCABULARY_BYTES, MAX_MERGES_BYTES = 32 << 20, 32 << 20  # the official ones: 2.8 and 1.7 MB
# How Qwen2 cuts a text before BPE: contractions, words, single digits, signs, line ends, blanks.
_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class CosyTokenizer:
    """The tokenizer of one model directory; safe to use from many threads.

    folder:  CosyVoice-BlankEN; its vocab.json and merges.txt are read
    version: whose words are added
    """

    def __init__(self, folder: str | Path, version: Version) -> None:
        """raises: ModelError for files that are missing or damaged; UsageError without the extra"""
        self.folder, self.version = Path(folder), version
        vocabulary = read_vocabulary(self.folder)
        self.num_base = len(vocabulary)
        self._whole = _build(self.folder)
        self.special_ids = number_special_tokens(vocabulary, version)
        library = import_library("tokenizers", "CosyVoice's text", extra="cosyvoice")
        words = [
            library.AddedToken(word, special=True, normalized=False) for word in self.special_ids
        ]
        self._whole.add_special_tokens(words)

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which special tokens count as such."""
        return list(self._whole.encode(text, add_special_tokens=False).ids)

    def encode_plain(self, text: str) -> list[int]:
        """Ids of a text that may look like special tokens and holds none."""
        return list(self._plain.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens as they are written; torn characters become U+FFFD."""
        return str(self._whole.decode(list(ids), skip_special_tokens=False))

    @cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """The same without added words; made when a text first needs it, as it takes memory."""
        return _build(self.folder)


def read_vocabulary(folder: Path) -> Mapping[str, int]:
    """The words of vocab.json and their ids, 0 to their number less one.

    raises: ModelError where the file is missing or is something else
    """
    path = folder / VOCABULARY_FILE
    vocabulary = _parse_json(_read(path, MAX_VOCABULARY_BYTES), path)
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise _damaged(path, f"holds {type(vocabulary).__name__}", "a mapping of words to ids")
    ids = set(vocabulary.values()) if all(map(_is_id, vocabulary.values())) else set()
    if ids != set(range(len(vocabulary))):
        raise _damaged(path, "its ids have gaps, or one is given twice", "ids from 0 on")
    return vocabulary


def number_special_tokens(vocabulary: Mapping[str, int], version: Version) -> Mapping[str, int]:
    """Ids of the added words: those in the vocabulary keep theirs, others follow one another."""
    ids: dict[str, int] = {}
    behind = len(vocabulary)
    for word in (END_OF_TEXT, *SPECIAL_TOKENS[version]):
        if word in vocabulary:
            ids[word] = vocabulary[word]
        else:
            ids[word] = behind
            behind += 1
    return ids


def _build(folder: Path) -> tokenizers.Tokenizer:
    library = import_library("tokenizers", "CosyVoice's text", extra="cosyvoice")
    merges = folder / MERGES_FILE
    _read(merges, MAX_MERGES_BYTES)
    try:
        model = library.models.BPE.from_file(str(folder / VOCABULARY_FILE), str(merges))
        tokenizer = library.Tokenizer(model)
    except Exception as error:  # the library raises no narrower class
        raise _damaged(merges, printable(str(error)), "the merges of this vocabulary") from error
    pieces = library.pre_tokenizers.Split(library.Regex(_PIECES), "isolated")
    symbols = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    _require_symbols(tokenizer, library, folder)
    tokenizer.normalizer = library.normalizers.NFC()
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence([pieces, symbols])
    tokenizer.decoder = library.decoders.ByteLevel()
    built: tokenizers.Tokenizer = tokenizer
    return built


def _require_symbols(tokenizer: Any, library: Any, folder: Path) -> None:
    """Every byte has a word of its own, or texts would lose characters without a sound."""
    symbols = library.pre_tokenizers.ByteLevel.alphabet()
    lost = [symbol for symbol in symbols if tokenizer.token_to_id(symbol) is None]
    if lost:
        path = folder / VOCABULARY_FILE
        raise _damaged(path, f"no word for {len(lost)} of 256 bytes", "a byte-level vocabulary")


def _read(path: Path, most: int) -> bytes:
    try:
        if path.stat().st_size > most:
            raise _damaged(path, f"{path.stat().st_size} bytes", f"{most} bytes")
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror, "a file of CosyVoice-BlankEN") from error


def _parse_json(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, printable(str(error)), "JSON") from error


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _damaged(path: Path, seen: object, allowed: str) -> ModelError:
    return ModelError(
        "a file of a model's text tokenizer cannot be used",
        seen=f"{path}: {seen}",
        allowed=allowed,
        cure="run: kouji pull cosyvoice3, or copy the file again",
    )
