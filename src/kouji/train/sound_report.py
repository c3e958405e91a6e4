"""What `kouji classify prepare` leaves for people: report.json, and a picture of the balance."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from kouji.train.sound_clips import SoundClips

REPORT, PICTURE = "report.json", "balance.png"


def write_sound_report(folder: Path, clips: SoundClips) -> Path:
    """Write report.json beside a store: balance, warnings, each clip left out and why."""
    sounds = clips.set
    report = {
        "layout": sounds.layout,
        "clips": len(clips),
        "seconds": round(sum(clip.seconds for clip in sounds.clips), 3),
        "sample_rate": clips.sample_rate,
        "labels": list(sounds.labels),
        "folds": list(sounds.folds),
        "folds_made_here": sounds.has_own_folds,
        "balance": sounds.balance().as_dict(),
        "features": clips.mel,
        "warnings": list(sounds.warnings),
        "unreadable": [{"path": str(f.path), "reason": f.reason} for f in sounds.faults],
    }
    temporary = folder / f"{REPORT}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(report, ensure_ascii=False, indent=1), encoding="utf-8")
    os.replace(temporary, folder / REPORT)
    return folder / REPORT


def draw_balance(folder: Path, clips: SoundClips) -> Path | None:
    """Draw clips per class and fold and the durations as PNG; None without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return None
    balance = clips.set.balance()
    height = max(4.0, 0.3 * len(balance.classes) + 1.5)
    figure = Figure(figsize=(11, height), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    counts, seconds = figure.subplots(1, 2)
    _draw_counts(counts, clips)
    durations = [clip.seconds for clip in clips.set.clips]
    seconds.hist(durations, bins=min(40, len(set(durations)) + 1), color="tab:blue")
    seconds.set_xlabel("seconds")
    seconds.set_ylabel("clips")
    seconds.set_title("durations")
    figure.suptitle(f"{len(clips)} clips, imbalance {balance.imbalance:.2f}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without Chinese: boxes in a picture are enough
        canvas.print_figure(str(folder / PICTURE))
    return folder / PICTURE


def _draw_counts(axis: Any, clips: SoundClips) -> None:
    """Bars of classes, stacked by fold; clips without a fold come last."""
    balance = clips.set.balance()
    places = np.arange(len(balance.classes))
    stacks = [
        (f"fold {f}", [row.per_fold[k] for row in balance.classes])
        for k, f in enumerate(balance.folds)
    ]
    homeless = [row.clips - sum(row.per_fold) for row in balance.classes]
    stacks += [("no fold", homeless)] if any(homeless) else []
    left = np.zeros(len(places))
    for name, counts in stacks:
        axis.barh(places, counts, left=left, label=name)
        left += counts
    # Names as they are: a dollar sign begins no formula.
    axis.set_yticks(places, [row.label for row in balance.classes], parse_math=False)
    axis.invert_yaxis()
    axis.set_xlabel("clips")
    axis.set_title("classes")
    for text in axis.legend(fontsize=8).get_texts():
        text.set_parse_math(False)
