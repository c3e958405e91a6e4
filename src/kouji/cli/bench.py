"""`kouji bench`: how fast this machine speaks; `benchmarks/` holds the longer comparison."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user


def bench(
    model: Annotated[str, typer.Option(help="The model to measure.")] = "mini",
    runs: Annotated[int, typer.Option(min=1, help="Runs each figure is the median of.")] = 5,
    precision: Annotated[str | None, typer.Option(help="As in kouji say.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="As in kouji say.")] = 0,
    device: Annotated[str | None, typer.Option(help="As in kouji say.")] = None,
) -> None:
    """Measure real-time factor and first audio in both languages; table and JSON line."""
    from dataclasses import asdict

    import torch

    from kouji.cli import session
    from kouji.evaluate.report import describe_run
    from kouji.evaluate.runner import SPEED_TEXTS
    from kouji.evaluate.speed import measure_speed
    from kouji.voices.sample import sample_voice

    settings = session.start()
    choice = session.ModelChoice(model, precision, threads or None, device)
    tts = session.load_model(choice, settings)
    voice = sample_voice()
    figures = {}
    for language, text in SPEED_TEXTS.items():
        say_to_user(f"measuring {language}, {runs} runs")
        figures[language] = measure_speed(tts, voice, text, runs=runs)
    typer.echo(f"{'language':<10}{'speech s':>10}{'RTF':>10}{'first audio ms':>16}")
    for language, speed in figures.items():
        typer.echo(
            f"{language:<10}{speed.speech_seconds:>10.1f}{speed.real_time_factor:>10.4f}"
            f"{speed.first_audio_seconds * 1000:>16.0f}"
        )
    run = describe_run(tts.precision, torch.get_num_threads())
    rows = {language: asdict(speed) for language, speed in figures.items()}
    typer.echo(json.dumps({**run, "benchmark": model, "runs": runs, "languages": rows}))
