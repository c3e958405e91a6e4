"""The page docs/cosyvoice-text.md: every example is run, every dialect is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cosyvoice_text import text_of
from tiny_cosyvoice import tiny_config, write_tokenizer

from kouji.errors import KoujiError
from kouji.models.cosyvoice.text import instruction_words as words
from kouji.models.cosyvoice.text.front import Front
from kouji.models.cosyvoice.text.instructions import instruction_of
from kouji.models.cosyvoice.text.tokenizer import CosyTokenizer
from kouji.text.markup import EVENTS
from kouji.text.style import parse_style


@pytest.fixture(scope="module")
def page(root_dir: Path) -> str:
    return (root_dir / "docs" / "cosyvoice-text.md").read_text("utf-8")


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Front:
    folder = write_tokenizer(tmp_path_factory.mktemp("tokenizer"), tiny_config().lm)
    return Front(CosyTokenizer(folder, "cosyvoice3"), "cosyvoice3")


def examples(page: str, kind: str) -> list[tuple[str, ...]]:
    blocks = re.findall(rf"```{kind}\n(.*?)```", page, re.DOTALL)
    return [tuple(line.split(" => ")) for block in blocks for line in block.splitlines()]


def test_spoken(page: str, front: Front) -> None:
    found = examples(page, "spoken")
    assert len(found) > 8
    for text, read in found:
        segments = front.prepare(text, transcript="好").segments
        ids = [segment.payload.text.tolist() for segment in segments]
        shown = "|".join(text_of(front.tokenizer, each) for each in ids)  # type: ignore[arg-type]
        assert shown == read


def test_refused(page: str, front: Front) -> None:
    found = examples(page, "refused")
    assert len(found) > 5
    for text, message in found:
        with pytest.raises(KoujiError, match=re.escape(message)):
            front.prepare(text)


def test_instructions(page: str) -> None:
    found = examples(page, "instruction")
    assert len(found) > 8
    for style, instruction in found:
        assert instruction_of(parse_style(style), "cosyvoice3") == instruction


def test_nothing_is_missing(page: str) -> None:
    names = [f"{name} ({key}" for key, name in words.TRAINED_DIALECTS.items()]
    assert [name for name in names if name not in " ".join(page.split())] == []
    assert [event for event in EVENTS if f"`[{event}]`" not in page] == []
