"""`kouji align` and the `export` commands: the steps between preparing, training and speaking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.sources import require_folder


def align(
    prepared: Annotated[Path, typer.Argument(help="A store that kouji prepare wrote.")],
) -> None:
    """Find out when each phone of a prepared store is spoken; the store keeps the durations."""
    from kouji.train.align import align_store

    require_folder(prepared, "make it with: kouji prepare DATA --out PREPARED")
    report = align_store(prepared, say=say_to_user)
    say_to_user(
        f"{report.clips} clips in {report.seconds:.0f} s, {report.failed} without a path; "
        f"{report.mean_frames:.1f} frames a phone, {report.at_minimum:.0%} of phones one frame"
    )


def export(
    acoustic: Annotated[Path, typer.Argument(help="The folder of a mini-acoustic run.")],
    vocoder: Annotated[Path, typer.Argument(help="The folder of a mini-vocoder run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the checkpoint.")],
    prepared: Annotated[
        Path, typer.Option("--data", help="The store the acoustic model was trained on.")
    ] = Path("runs/prepared"),
) -> None:
    """Make one checkpoint of two training runs, which kouji say loads with --model."""
    from kouji.train.export import export_mini

    for folder in (acoustic, vocoder, prepared):
        require_folder(folder, "name the folder that kouji train or prepare wrote")
    record = export_mini(acoustic, vocoder, out, store=prepared)
    say_to_user(f"{out}: pace {record['pace']}")


def export_recogniser(
    run: Annotated[Path, typer.Argument(help="The folder of a recogniser run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where kouji evaluate is to find it.")],
) -> None:
    """Write the phone recogniser of a training run as kouji evaluate loads it."""
    from kouji.train.recogniser import export_recogniser as write

    require_folder(run, "name the folder that kouji train wrote")
    say_to_user(f"{out}: from {write(run, out).name}")
