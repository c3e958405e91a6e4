"""`kouji key`: make, list and revoke the keys of the server in this home."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.errors import UsageError

key_app = typer.Typer(
    help="Make, list and revoke keys of the server.", no_args_is_help=True, rich_markup_mode=None
)
_SCOPES = "speak, clone, voices, jobs, classify, admin"


@key_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call the key: who or what will use it.")],
    scope: Annotated[
        str, typer.Option(help=f"What it may do, separated by commas: {_SCOPES}.")
    ] = "speak",
    requests_per_minute: Annotated[
        int | None, typer.Option(min=0, help="Requests in any minute, at most.")
    ] = None,
    characters_per_day: Annotated[
        int | None, typer.Option(min=0, help="Characters of text in a day (UTC), at most.")
    ] = None,
    voices: Annotated[int | None, typer.Option(min=0, help="Voices it may keep at a time.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: days from now (30d), or a date (2027-01-31).")
    ] = None,
) -> None:
    """Make a key and print it, once: only its hash is kept. Servers that run know it at once."""
    from kouji.cli import session
    from kouji.serve.caller import Quotas
    from kouji.serve.keys import KeyRing

    settings = session.start()
    record, key = KeyRing(settings.home).add(
        name,
        [part.strip() for part in scope.split(",") if part.strip()],
        Quotas(requests_per_minute, characters_per_day, voices),
        _read_end(expires) if expires else None,
    )
    end = f", until {record.expires}" if record.expires else ""
    say_to_user(f"made key {record.id} {record.name!r} for {', '.join(record.scopes)}{end};")
    say_to_user("it is shown this once; every caller of this server needs a key from now on")
    print(key)


@key_app.command("list")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value instead.")] = False,
) -> None:
    """List the keys: id, name, state, scopes, quotas, made, ends, last use to the hour."""
    from kouji.cli import session
    from kouji.serve.keys import KeyRing
    from kouji.serve.quotas import read_usage

    settings = session.start()
    usage = read_usage(settings.home)
    today = usage.of_day(datetime.now(UTC).date().isoformat())
    lines = []
    for record in KeyRing(settings.home).records():
        facts = {name: value for name, value in asdict(record).items() if name != "hash"}
        lines.append({**facts, "state": record.state, "last_use": usage.last.get(record.id),
                      "characters_today": today.get(record.id, 0)})  # fmt: skip
    if as_json:
        print(json.dumps(lines, ensure_ascii=False, indent=1))
        return
    for line in lines:
        told = [f"{what} {most}" for what, most in line["quotas"].items() if most is not None]
        print(
            line["id"],
            line["name"],
            line["state"],
            ",".join(line["scopes"]),
            "; ".join(told).replace("_", " ") or "no quotas",
            f"made {line['created']}",
            f"ends {line['expires']}" if line["expires"] else "no end",
            f"used {line['last_use']}" if line["last_use"] else "never used",
            sep="\t",
        )


@key_app.command("revoke")
def revoke(
    wanted: Annotated[str, typer.Argument(metavar="KEY", help="The id or the name of a key.")],
) -> None:
    """End a key: servers that run refuse it from the next request on."""
    from kouji.cli import session
    from kouji.serve.keys import KeyRing

    record = KeyRing(session.start().home).revoke(wanted)
    say_to_user(f"revoked key {record.id} {record.name!r}")


def _read_end(text: str) -> datetime:
    """`30d` or a date; a date without a time ends with that day, without a zone it is UTC."""
    try:
        if text.endswith("d") and text[:-1].isdigit():
            return datetime.now(UTC) + timedelta(days=int(text[:-1]))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(
            "not a time", seen=text, allowed="days from now as 30d, or a date as 2027-01-31"
        ) from error
    if len(text) == len("2027-01-31"):
        moment += timedelta(days=1)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
