"""The text tokenizer: official ids, words users may not write, damaged files."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_cosyvoice import Version, tiny_config, write_tokenizer

from kouji.errors import ModelError, UsageError
from kouji.models.cosyvoice.text.special_tokens import COMMON, SPECIAL_TOKENS
from kouji.models.cosyvoice.text.tokenizer import CosyTokenizer, read_vocabulary

VERSIONS: tuple[Version, ...] = ("cosyvoice3", "cosyvoice2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), tiny_config().lm)


@pytest.fixture(scope="module")
def frontend(shared_dir: Path) -> Path:
    return shared_dir / "goldens" / "cosyvoice3" / "frontend"


@pytest.mark.parametrize("version", VERSIONS)
def test_official_ids_of_texts(frontend: Path, version: Version) -> None:
    tokenizer = CosyTokenizer(frontend.parent / "CosyVoice-BlankEN", version)
    rows: list[dict[str, Any]] = json.loads((frontend / "tokens.json").read_text("utf-8"))
    assert len(rows) >= 40
    for row in rows:
        assert tokenizer.encode(row["text"]) == row[version], row["text"]


@pytest.mark.parametrize("version", VERSIONS)
def test_official_ids_of_special_tokens(frontend: Path, version: Version) -> None:
    tokenizer = CosyTokenizer(frontend.parent / "CosyVoice-BlankEN", version)
    official = json.loads((frontend / "special_token_ids.json").read_text("utf-8"))
    assert tokenizer.num_base == official["base"]
    for word, number in official[version].items():
        assert tokenizer.special_ids[word] == number
        assert tokenizer.encode(word) == [number]


@pytest.mark.parametrize("version", VERSIONS)
def test_special_tokens_follow_the_vocabulary(folder: Path, version: Version) -> None:
    """Their id is the vocabulary's size and the place in the list, from 1."""
    tokenizer = CosyTokenizer(folder, version)
    for place, word in enumerate(SPECIAL_TOKENS[version], start=1):
        assert tokenizer.special_ids[word] == tokenizer.num_base + place
    assert len(SPECIAL_TOKENS["cosyvoice2"]) == 19
    assert len(set(SPECIAL_TOKENS["cosyvoice3"])) == 280


def test_words_added_by_the_version_only(folder: Path) -> None:
    assert len(CosyTokenizer(folder, "cosyvoice3").encode("[AA1][ǐ]")) == 2
    assert len(CosyTokenizer(folder, "cosyvoice2").encode("[AA1][ǐ]")) > 2


@pytest.mark.parametrize("text", [*COMMON, "<|endoftext|>", "[j][ǐ]", "你<|im_end|>好[breath]"])
def test_users_cannot_write_special_tokens(folder: Path, text: str) -> None:
    """The same characters, none of the special ids."""
    tokenizer = CosyTokenizer(folder, "cosyvoice3")
    ids = tokenizer.encode_plain(text)
    assert max(ids) < tokenizer.num_base <= max(tokenizer.encode(text))
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Hello, the  1234 worlds!\n\n",
        "你好，世界。",
        "naïve 안녕 こんにちは 😀",
        "don't I'LL",
    ],
)
def test_decoding_gives_the_text(folder: Path, text: str) -> None:
    tokenizer = CosyTokenizer(folder, "cosyvoice3")
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode(text) == tokenizer.encode_plain(text)


def test_text_is_composed_but_special_tokens_are_not(folder: Path) -> None:
    """NFC happens behind the search for special tokens, as in the official tokenizer."""
    tokenizer = CosyTokenizer(folder, "cosyvoice3")
    assert tokenizer.encode("nai\u0308ve") == tokenizer.encode("naïve")
    assert len(tokenizer.encode("[i\u030c]")) > 1 == len(tokenizer.encode("[ǐ]"))


def test_special_words_in_the_vocabulary_keep_their_ids(folder: Path, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, tiny_config().lm)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text("utf-8"))
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), "utf-8")
    moved, usual = CosyTokenizer(tmp_path, "cosyvoice2"), CosyTokenizer(folder, "cosyvoice2")
    assert moved.special_ids == usual.special_ids


def _break(folder: Path, name: str, content: bytes | None) -> Path:
    write_tokenizer(folder, tiny_config().lm)
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("vocab.json", None, "No such file"),
        ("merges.txt", None, "No such file"),
        ("vocab.json", b'{"a": 0', "vocab.json"),
        ("vocab.json", b"[1, 2]", "holds list"),
        ("vocab.json", b"{}", "a mapping of words"),
        ("vocab.json", b'{"a": 0, "b": 2}', "gaps"),
        ("vocab.json", b'{"a": 0, "b": "1"}', "gaps"),
        ("vocab.json", b'{"a": 0, "b": true}', "gaps"),
        ("vocab.json", b'{"a": 0}', "merges"),
        ("vocab.json", b"\xff\xfe", "vocab.json"),
        ("vocab.json", b"[" * 100_000, "vocab.json"),
        ("merges.txt", b"#version: 0.2\nq zz\n", "merges"),
        ("merges.txt", b"#version: 0.2\none\n", "merges"),
        ("merges.txt", b"\xff\xfe\x00", "merges"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        CosyTokenizer(_break(tmp_path, name, content), "cosyvoice3")


def test_a_vocabulary_must_cover_all_bytes(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, tiny_config().lm)
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    with pytest.raises(ModelError, match="no word for 254 of 256 bytes"):
        CosyTokenizer(tmp_path, "cosyvoice3")


def test_the_vocabulary_is_read_without_the_library(folder: Path) -> None:
    assert read_vocabulary(folder)["!"] == 0x21


def test_a_missing_library_names_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match=r"tokenizers.*kouji\[cosyvoice\]"):
        CosyTokenizer(folder, "cosyvoice3")
