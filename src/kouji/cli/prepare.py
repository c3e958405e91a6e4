"""`kouji prepare`: arguments in, progress and a short summary out; the work is train.prepare."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user

_SHOWN = 10  # refused clips named on the terminal; the report has them all


def prepare(
    data: Annotated[Path, typer.Argument(help="Folder with recordings and their texts.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the prepared store.")],
    layout: Annotated[
        str,
        typer.Option(help="auto, manifest, gpt-sovits, ljspeech, aishell3, librispeech or pairs."),
    ] = "auto",
    workers: Annotated[
        int, typer.Option(min=0, help="Worker processes; 0 computes in this one.")
    ] = 2,
    held_out_speakers: Annotated[
        str | None,
        typer.Option(
            help="Speakers never trained on: a file of names or a regular expression; "
            "without it a fixed rule chooses some of each corpus."
        ),
    ] = None,
    valid_percent: Annotated[
        float, typer.Option(help="Share of the other speakers' clips kept for validation.")
    ] = 3.0,
    min_seconds: Annotated[float, typer.Option(help="Shorter clips are left out.")] = 0.3,
    max_seconds: Annotated[float, typer.Option(help="Longer clips are left out.")] = 20.0,
    min_snr: Annotated[float, typer.Option(help="Noisier clips are left out, in dB.")] = 5.0,
) -> None:
    """Check recordings, compute their features and pack them for training.

    A run that was stopped goes on where it was when started again.
    """
    from kouji.cli import session
    from kouji.train.clip_features import ClipRules
    from kouji.train.held_out import SplitRules
    from kouji.train.prepare import PrepareSettings, prepare_data

    session.start()
    settings = PrepareSettings(
        rules=ClipRules(min_seconds=min_seconds, max_seconds=max_seconds, min_snr_db=min_snr),
        splits=SplitRules(held_out_speakers, valid_percent),
        layout=layout,
        num_workers=workers,
    )
    with clip_bar() as show:
        result = prepare_data(data, out, settings, on_progress=show)
    store = result.store
    hours = sum(clip.seconds for clip in store.clips) / 3600
    typer.echo(
        f"{len(store)} clips, {hours:.2f} h, {len(store.speakers)} speakers in {out}; "
        f"{len(result.skipped)} left out, see {result.report}"
    )
    for skip in result.skipped[:_SHOWN]:
        say_to_user(f"left out {skip.path}: {skip.reason}, {skip.detail}")
    if len(result.skipped) > _SHOWN:
        say_to_user(f"and {len(result.skipped) - _SHOWN} more in the report")


@contextmanager
def clip_bar() -> Iterator[Callable[[int, int], None]]:
    """A bar of clips with the time left, from the first clips on, if somebody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("preparing", BarColumn(), MofNCompleteColumn(), "left", TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
    task = progress.add_task("preparing", total=None)

    def show(done: int, total: int) -> None:
        progress.start()
        progress.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        progress.stop()
