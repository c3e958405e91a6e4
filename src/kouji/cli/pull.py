"""`kouji pull`: names in, folders out; the work is `kouji.hub`."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.errors import UsageError

if TYPE_CHECKING:
    from kouji.config import Settings


def pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Models to fetch, such as gpt-sovits-v2proplus.")
    ] = None,
    list_models: Annotated[
        bool, typer.Option("--list", help="List the models there are, and which are here.")
    ] = False,
    hub: Annotated[
        str | None, typer.Option(help="huggingface or modelscope, instead of the setting.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of a mirror, such as https://hf-mirror.com.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: print JSON.")] = False,
) -> None:
    """Fetch models into KOUJI_HOME/models, checked and resumed."""
    from kouji.cli import session

    settings = session.start()
    if list_models:
        _show_list(settings, as_json)
        return
    if not names:
        raise UsageError("no model was named", cure="see: kouji pull --list")
    if hub is not None and hub != settings.hub:  # the mirror in the settings is of the other hub
        settings = replace(settings, hub=hub, hub_endpoint="")
    if endpoint is not None:
        settings = replace(settings, hub_endpoint=endpoint)
    for name in names:
        _pull_one(name, settings)


def _pull_one(name: str, settings: Settings) -> None:
    from kouji.cli.progress import DownloadBar
    from kouji.hub.pull import pull as pull_model

    with contextlib.closing(DownloadBar(say_to_user)) as bar:
        done = pull_model(name, settings, bar)
    what = f"{len(done.fetched)} files fetched" if done.fetched else "complete, every file checked"
    say_to_user(f"{name}: {what}")
    print(done.folder)


def _show_list(settings: Settings, as_json: bool) -> None:
    from kouji.hub.catalogue import load_catalogue
    from kouji.hub.pull import state_of

    models = load_catalogue().values()
    states = {model.name: state_of(settings.home, model.name) for model in models}
    if as_json:
        listed = [
            {
                "name": model.name,
                "title": model.title,
                "licence": model.licence,
                "known_bytes": model.num_bytes,
                "state": states[model.name],
                "files": [vars(file) for file in model.files],
                "places": {place: vars(where) for place, where in model.places.items()},
            }
            for model in models
        ]
        print(json.dumps(listed, indent=1, ensure_ascii=False))
        return
    for model in models:
        is_known = all(file.size is not None for file in model.files)
        size = f"{'' if is_known else '> '}{model.num_bytes / 1e9:.2f} GB"
        size = size if model.num_bytes else "size unknown"
        print(f"{model.name:<22}{size:>12}  {states[model.name]:<10}{model.title}")
