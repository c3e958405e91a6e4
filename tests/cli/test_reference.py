"""docs/cli.md says what the commands say."""

from __future__ import annotations

from pathlib import Path

from kouji.cli.reference import write_reference


def test_the_page_is_up_to_date(root_dir: Path) -> None:
    page = (root_dir / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == write_reference(), "run: make docs"
