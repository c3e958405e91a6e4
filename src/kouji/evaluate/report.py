"""The outcome of an evaluation: a table for people, one JSON line for machines.

Rates are pooled over all words or phones, other measures averaged over items; RTF here
is total work over total speech and includes nothing but speaking.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kouji.evaluate.runner import EvaluationReport, SystemReport
from kouji.evaluate.wer import Errors, pool

if TYPE_CHECKING:
    from rich.console import Console

Summary = dict[str, float | None]


class Column(NamedTuple):
    """A measure of the table: key in the summary, heading, and how many decimals."""

    key: str
    heading: str
    decimals: int


COLUMNS = (
    Column("items", "items", 0),
    Column("wer", "WER en", 3),
    Column("per", "PER zh", 3),
    Column("toned_per", "PER zh, tones", 3),
    Column("own_similarity", "own speaker", 3),
    Column("other_similarity", "other speaker", 3),
    Column("own_wins", "own > other", 2),
    Column("quality", "DNSMOS", 2),
    Column("speech_quality", "speech", 2),
    Column("background_quality", "backgr.", 2),
    Column("pitch_spread", "pitch sd, st", 2),
    Column("pitch_correlation", "pitch corr.", 2),
    Column("short_phones", "short phones", 3),
    Column("real_time_factor", "RTF", 3),
    Column("first_audio_ms", "first audio ms", 0),
    Column("border_bend_db", "border bend dB", 1),
)


def summarise(system: SystemReport) -> Summary:
    """Reduce a system's items to one number per column; None where nothing was measured."""
    items = system.items
    trials = [
        float(item.own_similarity > item.other_similarity)
        for item in items
        if item.own_similarity is not None and item.other_similarity is not None
    ]
    rated = [item.quality for item in items if item.quality is not None]
    heard = [item.phones for item in items if item.phones is not None]
    num_phones = sum(item.num_phones for item in items)
    timed = [item for item in items if item.render_seconds is not None]
    spoken = sum(item.seconds for item in timed)
    work = sum(item.render_seconds or 0.0 for item in timed)
    speed = system.speed
    return {
        "items": float(len(items)),
        "wer": _rate(item.words for item in items if item.words is not None),
        "per": _rate(phones.plain for phones in heard),
        "toned_per": _rate(phones.toned for phones in heard),
        "own_similarity": _mean(item.own_similarity for item in items),
        "other_similarity": _mean(item.other_similarity for item in items),
        "own_wins": _mean(trials),
        "quality": _mean(scores.overall for scores in rated),
        "speech_quality": _mean(scores.speech for scores in rated),
        "background_quality": _mean(scores.background for scores in rated),
        "p808_quality": _mean(scores.p808 for scores in rated),
        "pitch_spread": _mean(item.pitch_spread for item in items),
        "pitch_correlation": _mean(item.pitch_correlation for item in items),
        "short_phones": sum(i.num_short_phones for i in items) / num_phones if num_phones else None,
        "real_time_factor": work / spoken if spoken else None,
        "first_audio_ms": speed.first_audio_seconds * 1000 if speed else None,
        "border_bend_db": system.borders.sharpest_db if system.borders else None,
        "num_borders": float(system.borders.count) if system.borders else None,
    }


def _rate(errors: Iterable[Errors]) -> float | None:
    counted = list(errors)
    return pool(counted).rate if counted else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def print_report(report: EvaluationReport, console: Console) -> None:
    """Print the table of all systems, the control sweeps and what failed."""
    from rich.table import Table

    summaries = [summarise(system) for system in report.systems]
    shown = [c for c in COLUMNS if any(summary[c.key] is not None for summary in summaries)]
    # Measures run down and systems across: fits a terminal of 80 columns.
    names = [system.name for system in report.systems]
    table = Table(f"{report.set_name}: {report.num_items} items", *names)
    for column in shown:
        cells = [_cell(summary[column.key], column.decimals) for summary in summaries]
        table.add_row(column.heading, *cells)
    console.print(table)
    for system in report.systems:
        _print_sweeps(system, console)
        for failure in system.failed:
            console.print(f"{system.name} could not speak {failure}", markup=False)


def _cell(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _print_sweeps(system: SystemReport, console: Console) -> None:
    from rich.table import Table

    if not system.sweeps:
        return
    table = Table("control", "asked", "measured", "monotonic", title=f"Controls of {system.name}")
    for sweep in system.sweeps:
        asked = " ".join(f"{value:g}" for value in sweep.asked)
        measured = " ".join(f"{value:.1f}" for value in sweep.measured)
        verdict = "yes" if sweep.is_monotonic else "NO"
        table.add_row(sweep.name, asked, f"{measured} {sweep.unit}", verdict)
    console.print(table)


def json_line(report: EvaluationReport, *, dtype: str, threads: int) -> str:
    """The report as one line of JSON with commit, hardware, dtype and set."""
    record = {
        **describe_run(dtype, threads),
        "set": report.set_name,
        "num_items": report.num_items,
        "systems": {system.name: _record(system) for system in report.systems},
    }
    return json.dumps(record, ensure_ascii=False)


def _record(system: SystemReport) -> dict[str, object]:
    rounded = {
        key: None if value is None else round(value, 4) for key, value in summarise(system).items()
    }
    sweeps = {
        sweep.name: {
            "asked": sweep.asked,
            "measured": [round(value, 2) for value in sweep.measured],
            "monotonic": sweep.is_monotonic,
        }
        for sweep in system.sweeps
    }
    return {**rounded, "controls": sweeps, "failed": len(system.failed)}


def describe_run(dtype: str, threads: int) -> dict[str, object]:
    """What figures depend on: commit, hardware, number format, threads."""
    return {
        "commit": _commit(),
        "hardware": _processor(),
        "python": platform.python_version(),
        "dtype": dtype,
        "threads": threads,
    }


def _commit() -> str:
    """Commit of the source tree, or "unknown" for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    from kouji.machine import read_processor

    name, cores = read_processor()
    return f"{name}, {cores} cores"
