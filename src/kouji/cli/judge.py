"""`kouji evaluate`: a model beside real recordings on one set; the work is evaluate.runner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.sources import require_file


def evaluate(
    model: Annotated[str, typer.Argument(help="The model to measure, such as mini.")],
    set_path: Annotated[Path, typer.Option("--set", help="A set of items, such as en.jsonl.")],
    data: Annotated[
        Path | None, typer.Option(help="The folder the set's recordings are relative to.")
    ] = None,
    measures: Annotated[
        str | None, typer.Option(help="Only these, by commas: words,phones,speaker,quality,…")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Only the first items; 0 is all.")] = 0,
    programs: Annotated[
        bool,
        typer.Option(
            "--programs/--no-programs", help="Measure espeak-ng and flite as well, if installed."
        ),
    ] = True,
    precision: Annotated[str | None, typer.Option(help="As in kouji say.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="As in kouji say.")] = 0,
    device: Annotated[str | None, typer.Option(help="As in kouji say.")] = None,
) -> None:
    """Measure intelligibility, likeness, pitch, quality and speed: a table and a JSON line."""
    import torch
    from rich.console import Console

    from kouji.cli import session
    from kouji.evaluate.report import json_line, print_report
    from kouji.evaluate.runner import MEASURES
    from kouji.evaluate.runner import evaluate as run_evaluation
    from kouji.evaluate.systems import Model, Recordings, System, installed_programs

    settings = session.start()
    require_file(set_path)
    choice = session.ModelChoice(model, precision, threads or None, device)
    tts = session.load_model(choice, settings)
    systems: list[System] = [Model(tts, f"kouji {model}"), Recordings()]
    if programs:
        systems += installed_programs()
    report = run_evaluation(
        systems,
        set_path,
        data=data,
        measures=measures.split(",") if measures else MEASURES,
        limit=limit or None,
        progress=_show_progress,
    )
    print_report(report, Console())
    typer.echo(json_line(report, dtype=tts.precision, threads=torch.get_num_threads()))


def _show_progress(system: str, done: int, total: int) -> None:
    if done % 10 == 0:
        say_to_user(f"{system}: {done} of {total}")
