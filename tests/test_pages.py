"""The pages hold together: links lead somewhere, and every family is on its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kouji.hub.catalogue import load_catalogue
from kouji.models.catalogue import NAMES

LINK = re.compile(r"\]\((?!https?:|mailto:)([^()\s#]*)(?:#([^()\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """What a page's headings are called in links to them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain}


def pages(root: Path) -> list[Path]:
    """README, changes and everything in docs."""
    return [*root.glob("*.md"), *root.glob("docs/**/*.md")]


def test_links_lead_somewhere(root_dir: Path) -> None:
    lost = []
    for page in pages(root_dir):
        for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
            aim = (page.parent / target) if target else page
            is_there = aim.exists() and (not anchor or anchor in anchors(aim))
            if not is_there:
                lost.append(f"{page.relative_to(root_dir)}: {target}#{anchor}")
    assert not lost


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/settings.md"])
def test_the_page_of_families_is_found(root_dir: Path, name: str) -> None:
    assert "families.md)" in (root_dir / name).read_text(encoding="utf-8")


def test_every_model_is_on_the_page_of_families(root_dir: Path) -> None:
    page = (root_dir / "docs" / "families.md").read_text(encoding="utf-8")
    assert not [name for name in NAMES if name.lower() not in page.lower()]
    assert not [model.name for model in load_catalogue().values() if model.name not in page]
