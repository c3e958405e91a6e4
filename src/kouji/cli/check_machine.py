"""`kouji doctor`: what this machine can do, as a table; exit code 1 on a blocker."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    precision: Annotated[
        str | None, typer.Option(help="Judge this precision instead of the one chosen for you.")
    ] = None,
) -> None:
    """Examine Python, torch, processor, graphics, memory, disk and libraries."""
    from rich.console import Console

    from kouji.cli import session
    from kouji.doctor import diagnose, render

    settings = session.start()
    wanted = precision or settings.precision
    diagnosis = diagnose(precision=None if wanted == "auto" else wanted)
    render(diagnosis, Console())
    raise typer.Exit(diagnosis.exit_code)
