"""The official text handling: every text of the goldens, and its faults as named errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from kouji.errors import TextError, UsageError
from kouji.models.cosyvoice.text import official_numbers
from kouji.models.cosyvoice.text.official_numbers import read_with_wetext, spell_digits
from kouji.models.cosyvoice.text.official_text import (
    Normaliser,
    cut,
    merge,
    official_normalise,
    official_segments,
)
from kouji.models.cosyvoice.text.tokenizer import CosyTokenizer

NORMALISERS: tuple[Normaliser, ...] = ("wetext", "none")


@pytest.fixture(scope="module")
def rows(shared_dir: Path) -> list[dict[str, Any]]:
    text = (shared_dir / "goldens" / "cosyvoice3" / "frontend" / "text.json").read_text("utf-8")
    return json.loads(text)["rows"]


@pytest.fixture(scope="module")
def tokenizer(shared_dir: Path) -> CosyTokenizer:
    return CosyTokenizer(shared_dir / "goldens" / "cosyvoice3" / "CosyVoice-BlankEN", "cosyvoice3")


def run(text: str, normaliser: Normaliser, tokenizer: CosyTokenizer) -> tuple[Any, Any]:
    def count(part: str) -> int:
        return len(tokenizer.encode(part))

    try:
        return (
            official_segments(text, normaliser=normaliser, count_tokens=count),
            official_normalise(text, normaliser=normaliser, count_tokens=count),
        )
    except TextError:
        return "error", "error"


@pytest.mark.parametrize("normaliser", NORMALISERS)
def test_goldens(
    rows: list[dict[str, Any]], tokenizer: CosyTokenizer, normaliser: Normaliser
) -> None:
    for row in rows:
        expected = [row[f"{normaliser}.{kind}"] for kind in ("segments", "whole")]
        expected = ["error" if isinstance(each, dict) else each for each in expected]
        assert list(run(row["text"], normaliser, tokenizer)) == expected, row["text"]


def test_model_tokens_turn_normalising_off() -> None:
    text = " You are a helpful assistant.<|endofprompt|>3.5 中文。再见。 "
    assert official_normalise(text, normaliser="none", count_tokens=len) == text
    assert official_segments(text, normaliser="none", count_tokens=len) == [text]


@pytest.mark.parametrize(("text", "pieces"), [
    ("好？！走", ["好？", "走。"]),
    ("他说“好。”走。", ["他说“好。”", "走。"]),
    ("好。！\"走", ['好。"', "走。"]),
])  # fmt: skip
def test_cut_keeps_the_first_of_neighbouring_marks(text: str, pieces: list[str]) -> None:
    assert cut(text, "zh") == pieces


def test_a_mark_and_a_quote_at_the_beginning() -> None:
    with pytest.raises(TextError, match="begins with a mark and a quote"):
        cut("。”好", "zh")


def test_merge_flushes_only_what_is_long_enough() -> None:
    assert merge(["a" * 60, "b" * 30], len) == ["a" * 60 + "b" * 30]
    assert merge(["a" * 61, "b" * 30], len) == ["a" * 61, "b" * 30]
    assert merge(["a" * 61, "b" * 20, "c" * 61, "d" * 19], len)[1:] == [
        "b" * 20 + "c" * 61 + "d" * 19
    ]
    assert merge(["a" * 61, "b" * 61, "c" * 19], len) == ["a" * 61, "b" * 61 + "c" * 19]


def test_wetext_reads_only_texts_with_digits() -> None:
    assert read_with_wetext(" Dr. Smith ") == "Dr. Smith"
    assert read_with_wetext('说"1/3"的人') == '说"三分之一"的人'


@pytest.mark.parametrize("library", ["kaldifst", "wetext"])
def test_a_missing_library_names_its_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "wetext":  # it is looked for and not imported
        monkeypatch.setattr(official_numbers, "find_spec", lambda _: None)
    else:
        monkeypatch.setitem(sys.modules, library, None)
    official_numbers._graphs.cache_clear()
    try:
        with pytest.raises(UsageError, match=rf"{library}.*kouji\[cosyvoice\]"):
            read_with_wetext("3")
    finally:
        official_numbers._graphs.cache_clear()


@pytest.mark.parametrize("text", ["natural [AH0] 5", "오늘은 3월"])
def test_what_the_graphs_do_not_take(text: str) -> None:
    with pytest.raises(TextError, match="does not take this text"):
        read_with_wetext(text)


@pytest.mark.parametrize(("digits", "words"), [  # as inflect 7.6 says them
    ("0", "zero"), ("000", "zero"), ("007", "seven"), ("100", "one hundred"),
    ("1005", "one thousand and five"), ("1100", "one thousand, one hundred"),
    ("1234567", "one million, two hundred and thirty-four thousand, five hundred and sixty-seven"),
    ("1001000", "one million, one thousand"), ("1000005", "one million and five"),
    ("100000000000", "one hundred billion"), ("１２", "twelve"), ("1²", "one"), ("²", "zero"),
    ("0" * 40 + "12", "twelve"),
])  # fmt: skip
def test_english_numbers(digits: str, words: str) -> None:
    assert spell_digits(digits) == words


def test_a_number_beyond_the_speller() -> None:
    assert spell_digits("a12b3") == "atwelvebthree"
    with pytest.raises(TextError, match="cannot spell this number"):
        spell_digits("9" * 60)
