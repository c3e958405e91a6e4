"""`kouji watermark detect`: was this sound made by Kouji?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.sources import require_file

watermark_app = typer.Typer(
    help="Find the inaudible mark in speech.", no_args_is_help=True, rich_markup_mode=None
)


@watermark_app.callback()
def _watermark() -> None:
    """Find the inaudible mark in speech."""


@watermark_app.command("detect")
def detect(recording: Annotated[Path, typer.Argument(help="The sound to examine.")]) -> None:
    """Print one JSON line with what was found; exit code 1 if there is no mark."""
    from dataclasses import asdict

    from kouji.audio.load import load_audio
    from kouji.audio.watermark import detect as find_mark
    from kouji.cli import session

    session.start()
    require_file(recording)
    detection = find_mark(load_audio(recording))
    # The same hexadecimal id stands in the file's label and in the audit line.
    mark = None if detection.payload is None else f"{detection.payload:08x}"
    typer.echo(json.dumps({**asdict(detection), "id": mark}))
    if not detection.found:
        raise typer.Exit(1)
