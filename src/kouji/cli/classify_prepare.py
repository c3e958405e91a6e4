"""`kouji classify prepare`: arguments in, a table out; the work is train.sound_store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.errors import UsageError

_SHOWN = 10  # clips named on the terminal; the report has them all


def prepare_sounds(
    data: Annotated[Path, typer.Argument(help="Folder of labelled sounds.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the prepared store.")],
    layout: Annotated[
        str, typer.Option(help="auto, urbansound8k, esc50, manifest or folders.")
    ] = "auto",
    subset: Annotated[
        str | None, typer.Option(help="Only clips below this folder, or ESC-50's esc10.")
    ] = None,
    group_by: Annotated[
        str, typer.Option(help="What the table counts by: fold or speaker; a store has both.")
    ] = "fold",
    sample_rate: Annotated[int, typer.Option(min=4000, help="Rate of the store, in Hz.")] = 22050,
    jobs: Annotated[int, typer.Option(min=0, help="Processes; 0: one per core.")] = 0,
    features: Annotated[
        bool, typer.Option("--features", help="Store log-mels as well as samples.")
    ] = False,
    mels: Annotated[int, typer.Option(min=1, help="Bands of --features.")] = 64,
    n_fft: Annotated[int, typer.Option(min=16, help="Window of --features, in samples.")] = 1024,
    hop_length: Annotated[int, typer.Option(min=1, help="Step of --features, in samples.")] = 512,
) -> None:
    """Decode labelled sounds once for training, and show how balanced they are.

    Clips that cannot be read are left out and listed. A run that was stopped goes on where it
    was; after changes only what changed is decoded again.
    """
    from kouji.cli import session
    from kouji.cli.prepare import clip_bar
    from kouji.train.sound_report import draw_balance, write_sound_report
    from kouji.train.sound_store import Wanted, prepare_sounds

    session.start()
    if group_by not in ("fold", "speaker"):
        raise UsageError("unknown grouping", seen=group_by, allowed="fold, speaker")
    mel = {"num_mels": mels, "n_fft": n_fft, "hop_length": hop_length} if features else None
    with clip_bar() as show:
        clips = prepare_sounds(
            data,
            out,
            Wanted(sample_rate, mel),
            jobs=jobs,
            layout=layout,
            subset=subset,
            group_by="speaker" if group_by == "speaker" else "fold",
            on_progress=show,
        )
    report = write_sound_report(out, clips)
    picture = draw_balance(out, clips)
    typer.echo(clips.set.balance().table())
    shown = f", picture {picture}" if picture else ""
    typer.echo(f"{len(clips)} clips in {out}; report {report}{shown}")
    for line in clips.set.warnings:
        say_to_user(f"note: {line}")
    for fault in clips.set.faults[:_SHOWN]:
        say_to_user(f"left out {fault.path}: {fault.reason}")
    if len(clips.set.faults) > _SHOWN:
        say_to_user(f"and {len(clips.set.faults) - _SHOWN} more in the report")
