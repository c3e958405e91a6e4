"""`kouji serve`: the server in front of users; what it does is `kouji.serve.run`'s."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.speech_options import DeviceOption

if TYPE_CHECKING:
    from kouji.config import Settings
    from kouji.serve.run import Server

_SECRET = re.compile(r"(://[^:/@\s]*:)[^@\s]*(?=@)|(\bpassword=)[^\s&]*", re.IGNORECASE)


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; wider than this machine needs keys.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at; 0 takes a free one.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Models to serve, separated by commas; first the default.")
    ] = None,
    classifier: Annotated[
        str | None, typer.Option(help="What classifies sounds: esc10 or a folder; '' for nothing.")
    ] = None,
    device: DeviceOption = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; 0 takes free cores.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let anybody in who reaches the address, keyless.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print every setting and where it came from.")
    ] = False,
) -> None:
    """Serve speech over HTTP until SIGTERM or Ctrl-C; see docs/server.md."""
    from kouji.config import load_with_origins, override

    settings, origins = load_with_origins()
    said = {"host": host, "port": port, "models": model, "classifier": classifier,
            "device": device, "threads": threads}  # fmt: skip
    settings = override(settings, **said)
    if print_config:
        given = {name: "the command line" for name, value in said.items() if value is not None}
        _print_config(settings, {**origins, **given})
        return
    _run(settings, is_insecure=insecure)


def _run(settings: Settings, *, is_insecure: bool) -> None:
    from kouji.cli.session import calm_where_cores_are_shared
    from kouji.models.optional import import_library
    from kouji.serve.logs import set_up_logs

    for library in ("fastapi", "uvicorn", "uvloop", "httptools", "prometheus_client"):
        import_library(library, "serving", extra="serve")
    calm_where_cores_are_shared(settings.threads)  # before torch is imported
    from kouji.serve.run import listen, make_server, reachable

    settings = reachable(settings, is_insecure=is_insecure)
    sockets = listen(settings.host, settings.port)
    set_up_logs(settings)
    server = make_server(settings, is_insecure=is_insecure)
    _introduce(server, sockets[0].getsockname()[1])
    server.run(sockets)
    if server.fault is not None:
        raise server.fault


def _introduce(server: Server, port: int) -> None:
    """Where it is, what it speaks with, and who may come in."""
    service = server.service
    settings = service.settings
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    say_to_user(f"http://{host}:{port}/ with {settings.models}; consent: {settings.consent_policy}")
    if settings.classifier:
        say_to_user(f"sounds: classified by {settings.classifier}")
    if settings.studio:
        say_to_user(f"studio: http://{host}:{port}/")
    if service.admission.needs_key:
        say_to_user("keys: every caller needs one (kouji key list)")
    elif service.admission.is_open:
        say_to_user(
            "warning: --insecure: anybody who reaches this address may speak in every voice kept "
            "here, fill the disk and read what the server tells of itself; make a key instead"
        )
    else:
        say_to_user("keys: none; only this machine's own programs and pages come in")


def _print_config(settings: Settings, origins: dict[str, str]) -> None:
    for item in fields(settings):
        value = getattr(settings, item.name)
        shown = _SECRET.sub(lambda found: f"{found[1] or found[2]}***", str(value))
        told = repr(shown) if isinstance(value, str) else shown
        print(f"{item.name} = {told}\t# {origins.get(item.name, 'default')}")
