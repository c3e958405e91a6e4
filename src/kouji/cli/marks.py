"""`kouji watermark detect`: was this sound made by Kouji?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.sources import require_file

watermark_app = typer.Typer(
    help="Find the inaudible mark in speech.", no_args_is_help=True, rich_markup_mode=None
)


@watermark_app.callback()
def _watermark() -> None:
    """Find the inaudible mark in speech."""


@watermark_app.command("detect")
def detect(
    recordings: Annotated[list[Path], typer.Argument(help="The sounds to examine.")],
    audit: Annotated[
        bool, typer.Option("--audit", help="Add the audit lines that the number leads to.")
    ] = False,
    own_speed: Annotated[
        bool, typer.Option("--own-speed", help="Faster: do not look at other speeds.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as without it.")
    ] = False,
) -> None:
    """Print one JSON line for each recording: is there a mark, which number, how sure.

    Exit code 0 if every recording carries the mark, 1 if one does not or cannot be read.
    """
    from kouji.cli import session
    from kouji.errors import AudioError
    from kouji.voices.inspection import inspect

    del as_json  # the only form there is, so that scripts may say what they rely on
    settings = session.start()
    for recording in recordings:
        require_file(recording)
    is_every_one_marked = True
    for recording in recordings:
        try:
            inspection = inspect(
                recording,
                settings.audit_file if audit else None,
                search_speeds=not own_speed,
            )
        except AudioError as error:
            say_to_user(str(error))
            is_every_one_marked = False
            continue
        facts = {"file": str(recording), **inspection.as_dict()}
        typer.echo(json.dumps(facts, ensure_ascii=False))
        is_every_one_marked = is_every_one_marked and inspection.detection.found
    if not is_every_one_marked:
        raise typer.Exit(1)
