"""The report of a prepared store: what is in it, what was left out and why, in JSON and PNG.

Reads the finished store's records only; drawing is optional machinery that must not need a
display.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..text.phones import EDGE, PAD, SYMBOLS
from .clip_features import Skipped
from .store import Clip, Store, write_json

Values = NDArray[np.float64]


def write_report(
    folder: Path,
    store: Store,
    skipped: Sequence[Skipped],
    *,
    layout: str,
    settings: dict[str, Any],
) -> Path:
    """Write `report.png` and then `report.json` into `folder`; returns the JSON's path."""
    clips = store.clips
    phones = _phone_counts(store)
    report = {
        "layout": layout,
        "settings": settings,
        "clips": len(clips),
        "hours": round(sum(clip.seconds for clip in clips) / 3600, 4),
        "skipped_by_reason": dict(Counter(skip.reason for skip in skipped).most_common()),
        "by_split": _totals(clips, "split"),
        "by_language": _totals(clips, "language"),
        "by_corpus": _totals(clips, "corpus"),
        "full_band": sum(clip.full_band for clip in clips),
        "summary": {name: _summary(values) for name, values in _measures(clips).items()},
        "phones": phones,
        "phones_absent": [s for s in SYMBOLS if s not in phones and s not in (PAD, EDGE)],
        "held_out_speakers": [s.name for s in store.speakers if s.held_out],
        "speakers": [asdict(speaker) for speaker in store.speakers],
        "skipped": [asdict(skip) for skip in skipped],
    }
    _draw(folder / "report.png", store, phones)
    path = folder / "report.json"
    write_json(path, report)
    return path


def _measures(clips: Sequence[Clip]) -> dict[str, Values]:
    columns = {
        "seconds": [clip.seconds for clip in clips],
        "level_dbfs": [clip.level_dbfs for clip in clips],
        "snr_db": [clip.snr_db for clip in clips],
        "bandwidth_hz": [clip.bandwidth_hz for clip in clips],
        "phones_per_clip": [clip.num_phones for clip in clips],
        "phones_per_second": [clip.num_phones / max(clip.seconds, 1e-3) for clip in clips],
    }
    return {name: np.asarray(values, np.float64) for name, values in columns.items()}


def _summary(values: Values) -> dict[str, float]:
    points = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {name: round(float(np.quantile(values, at)), 3) for name, at in points.items()}


def _totals(clips: Sequence[Clip], attribute: str) -> dict[str, dict[str, float]]:
    """Clips, hours and speakers for each value of an attribute."""
    totals = {}
    for value in sorted({getattr(clip, attribute) for clip in clips}):
        own = [clip for clip in clips if getattr(clip, attribute) == value]
        totals[value] = {
            "clips": len(own),
            "hours": round(sum(clip.seconds for clip in own) / 3600, 4),
            "speakers": len({clip.speaker for clip in own}),
        }
    return totals


def _phone_counts(store: Store) -> dict[str, int]:
    """How often each symbol occurs, the rarest last."""
    counts = np.bincount(store.view("phones"), minlength=len(SYMBOLS))
    order = np.argsort(-counts, kind="stable")
    return {SYMBOLS[index]: int(counts[index]) for index in order if counts[index]}


def _draw(path: Path, store: Store, phones: dict[str, int]) -> None:
    """Histograms of the clips' measures, the minutes of each speaker and the phones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # stairs (one shape a histogram) and a fixed grid: bars and a fitted layout took 7 s
    measures = _measures(store.clips)
    figure = Figure(figsize=(14, 15))
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        4, 3, left=0.06, right=0.98, top=0.97, bottom=0.06, hspace=0.35, wspace=0.2
    )
    titles = {
        "seconds": "duration [s]",
        "level_dbfs": "level of the recording [dBFS of active speech]",
        "snr_db": "signal to noise, estimated [dB]",
        "bandwidth_hz": "bandwidth [Hz]",
        "phones_per_clip": "phones a clip",
        "phones_per_second": "phones a second",
    }
    for place, (name, title) in enumerate(titles.items()):
        axes = figure.add_subplot(grid[place // 3, place % 3])
        axes.stairs(*np.histogram(measures[name], bins=40), fill=True)
        axes.set(title=title, ylabel="clips")
    minutes = sorted((speaker.seconds / 60 for speaker in store.speakers), reverse=True)
    axes = figure.add_subplot(grid[2, :])
    axes.stairs(minutes, fill=True)
    axes.set(title="speakers, by amount", ylabel="minutes", xlabel="speaker")
    axes = figure.add_subplot(grid[3, :])
    axes.stairs(list(phones.values()), fill=True, baseline=0.5)
    axes.set(title="phones", ylabel="occurrences", yscale="log")
    axes.set_xticks(np.arange(len(phones)) + 0.5, list(phones), rotation=90, fontsize=7)
    temporary = path.with_name(path.name + ".tmp")
    figure.savefig(temporary, format="png", dpi=80)
    temporary.replace(path)
