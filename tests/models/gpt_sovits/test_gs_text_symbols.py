"""The symbol tables are built by rule; the published ones say whether the rules are right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kouji.errors import UsageError
from kouji.models.gpt_sovits.symbols import encode, pinyin_to_symbols, symbol_ids, symbol_table


@pytest.fixture(scope="module")
def published(shared_dir: Path) -> Any:
    path = shared_dir / "reference" / "gpt_sovits_symbols.json"
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize(("version", "count"), [("v1", 322), ("v2", 732)])
def test_tables_have_their_official_size_and_no_doubles(version: str, count: int) -> None:
    table = symbol_table(version)
    assert len(table) == count == len(set(table))


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_tables_equal_the_published_ones(published: Any, version: str) -> None:
    assert list(symbol_table(version)) == published[f"symbols_{version}"]


def test_the_ids_of_v1_go_on_in_v2() -> None:
    assert symbol_table("v2")[: len(symbol_table("v1"))] == symbol_table("v1")


def test_the_ids_the_reference_names() -> None:
    ids = symbol_ids("v2")
    assert (ids["UNK"], ids["SP"]) == (86, 77)


def test_every_pinyin_syllable_is_spelled_as_published(published: Any) -> None:
    for syllable, (initial, final) in published["zh"]["pinyin_to_symbols"].items():
        assert pinyin_to_symbols(syllable) == (initial, final), syllable


def test_every_spelled_syllable_is_in_the_table(published: Any) -> None:
    ids = symbol_ids("v1")
    for syllable in published["zh"]["pinyin_to_symbols"]:
        spelled = pinyin_to_symbols(syllable)
        assert spelled is not None
        assert spelled[0] in ids
        assert f"{spelled[1]}5" in ids


@pytest.mark.parametrize("syllable", ["", "hm", "xyz", "ng", "m", "vv", "ueng", "an1"])
def test_what_is_no_syllable_has_no_symbols(syllable: str) -> None:
    assert pinyin_to_symbols(syllable) is None


def test_unknown_phones_become_unk() -> None:
    assert encode(["a1", "#", "ㅎ"], "v1").tolist() == [symbol_ids("v1")["a1"], 86, 86]


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(UsageError, match="v1, v2"):
        symbol_table("v9")
