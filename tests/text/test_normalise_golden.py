"""Normalisation against tables of hand-written readings, one per language.

A row: input, spoken form, and where the text itself says nothing the language asked for;
a line break is written as \\n.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from kouji.text.normalise import normalise
from kouji.types import Language

DATA = Path(__file__).parent / "data"


def read_rows(name: str) -> list[list[str]]:
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines]


ROWS = [row for name in ("normalise_zh.tsv", "normalise_en.tsv") for row in read_rows(name)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:40])
def test_golden(row: list[str]) -> None:
    text, expected = row[0].replace("\\n", "\n"), row[1]
    language: Language | None = None
    if len(row) > 2:
        language = "zh" if row[2] == "zh" else "en"
    assert normalise(text, language=language).spoken_form == expected


@pytest.mark.parametrize("name", ["normalise_zh.tsv", "normalise_en.tsv"])
def test_tables_are_large_and_free_of_duplicates(name: str) -> None:
    inputs = [row[0] for row in read_rows(name)]
    assert len(inputs) >= 170
    assert len(set(inputs)) == len(inputs)
