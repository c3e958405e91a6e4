"""`kouji audit`: was the audit file tampered with, what is in it, which use made this sound?"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from kouji.errors import UsageError

audit_app = typer.Typer(
    help="Check and read the record of what was spoken in whose voice.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON line each.")]


@audit_app.command("verify")
def verify(
    expect: Annotated[
        str | None, typer.Option(help="A hash noted earlier, which must still be there.")
    ] = None,
) -> None:
    """Walk the chain of hashes; exit code 1 naming the first line that is changed or missing."""
    from kouji.voices import audit

    path = _audit_file()
    if path is None:
        typer.echo("0 lines")
        return
    chain = audit.check(path, expected=expect)
    typer.echo(f"{chain.count} lines, unbroken; the last hash is {chain.hash}")


@audit_app.command("show")
def show(
    last: Annotated[int, typer.Option(min=1, help="How many lines, from the end.")] = 20,
    event: Annotated[str | None, typer.Option(help="Only this event, such as speak.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the last lines."""
    from kouji.voices import audit

    path = _audit_file()
    lines = audit.find(path, **({"event": event} if event else {})) if path else iter(())
    _print(deque(lines, maxlen=last), as_json)


@audit_app.command("find")
def find(
    watermark: Annotated[str, typer.Argument(help="The id that `kouji watermark detect` prints.")],
    as_json: AsJson = False,
) -> None:
    """Print the lines of a watermark's id; exit code 1 if there are none."""
    from kouji.voices import audit

    wanted = watermark.lower().removeprefix("0x")
    if not re.fullmatch("[0-9a-f]{1,8}", wanted):
        raise UsageError(
            "this is not the id of a watermark", seen=watermark, allowed="8 hexadecimal digits"
        )
    path = _audit_file()
    found = list(audit.find(path, watermark=wanted.zfill(8))) if path else []
    _print(found, as_json)
    if not found:
        raise typer.Exit(1)


def _audit_file() -> Path | None:
    """The audit file of this machine; None where neither it nor its head was ever written."""
    from kouji.cli import session
    from kouji.voices import audit

    path = session.start().audit_file
    if not path.exists() and audit.head_path(path).exists():
        path.touch()  # so that all its lines are told as missing
    return path if path.exists() else None


def _print(lines: Iterable[dict[str, Any]], as_json: bool) -> None:
    for line in lines:
        if as_json:
            typer.echo(json.dumps(line, ensure_ascii=False))
            continue
        facts = [
            f"{key}={value}"
            for key, value in line.items()
            if key not in ("time", "event", "previous", "hash")
        ]
        typer.echo("\t".join([str(line.get("time")), str(line.get("event")), *facts]))
