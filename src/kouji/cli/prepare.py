"""`kouji prepare`: arguments in, progress and a short summary out; the work is train.prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from ..train.clip_features import ClipRules
    from ..train.held_out import SplitRules
    from ..train.prepare import PrepareSettings, prepare_data

    settings = PrepareSettings(
        rules=ClipRules(min_seconds=min_seconds, max_seconds=max_seconds, min_snr_db=min_snr),
        splits=SplitRules(held_out_speakers, valid_percent),
        layout=layout,
        num_workers=workers,
    )
    columns = ("preparing", BarColumn(), MofNCompleteColumn(), "left", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("prepare", total=None)
        result = prepare_data(
            data,
            out,
            settings,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    store = result.store
    hours = sum(clip.seconds for clip in store.clips) / 3600
    typer.echo(
        f"{len(store)} clips, {hours:.2f} h, {len(store.speakers)} speakers in {out}; "
        f"{len(result.skipped)} left out, see {result.report}"
    )
    for skip in result.skipped[:10]:
        typer.echo(f"  left out: {skip.path}: {skip.reason}, {skip.detail}", err=True)
