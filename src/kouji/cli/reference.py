"""Write the command reference of the docs from the commands' own help: `make docs`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

WIDTH = 92  # columns of the help text, whatever terminal it is made in
INTRODUCTION = """# Commands

Made by `make docs` from the commands' own help; a test compares the two.
"""


def write_reference() -> str:
    """The help of every command as one Markdown page."""
    import typer.main

    from kouji.cli.app import app

    sections = [INTRODUCTION]
    for path, text in _helps(typer.main.get_command(app), "kouji", None):
        sections.append(f"## {path}\n\n```\n{text.strip()}\n```\n")
    return "\n".join(sections)


def _helps(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    """Path and help of a command, then of those inside it."""
    context = command.make_context(
        name, [], parent=parent, resilient_parsing=True, terminal_width=WIDTH
    )
    yield context.command_path, command.get_help(context)
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, inner_name, context)


if __name__ == "__main__":
    print(write_reference(), end="")
