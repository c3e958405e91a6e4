"""The examples of docs/text.md, section Normalisation, are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kouji.text.normalise import normalise

PAGE = Path(__file__).parents[2] / "docs" / "text.md"
SECTION = PAGE.read_text(encoding="utf-8").split("\n## Normalisation\n")[1].split("\n## ")[0]
EXAMPLES = re.findall(r"^\|.*\| `(.+?)` \| `(.+?)` \|$", SECTION, re.MULTILINE)
BLOCKS = re.findall(r"```python\n(.+?)```", SECTION, re.DOTALL)


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) >= 25
    assert BLOCKS


@pytest.mark.parametrize(("written", "spoken"), EXAMPLES)
def test_table_row(written: str, spoken: str) -> None:
    assert normalise(written).spoken_form == spoken


@pytest.mark.parametrize("block", BLOCKS)
def test_code_block(block: str) -> None:
    exec(compile(block, str(PAGE), "exec"), {})
