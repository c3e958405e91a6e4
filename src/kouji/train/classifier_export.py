"""A trained classifier out of its run: one folder that can be copied, served and shared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kouji.models.classifier.weights import load_classifier, save_classifier

_FIGURES = ("accuracy", "macro_f1", "loss")


def export_run(run: str | Path, out: str | Path) -> Path:
    """Write the newest checkpoint of a run, or the checkpoint named, as a classifier's folder.

    Weights become float16. What travels with them: the data's name and which folds were held
    out, the step, and the figures of the run's report.
    raises: ModelError for a folder that holds no checkpoint of a classifier
    """
    source = Path(run)
    loaded = load_classifier(source)
    metadata = dict(loaded.metadata)
    data = dict(metadata.get("data") or {})
    if folder := data.pop("store", None) or data.get("folder"):
        data["folder"] = Path(str(folder)).name  # where it lay is nobody's affair
    report = _report(source)
    if "held_out" in report:
        data["valid"] = list(report["held_out"])  # also where the recipe's rule chose it
    metadata["data"] = data
    if figures := report.get("figures"):
        metadata["figures"] = {key: figures[key] for key in _FIGURES if key in figures}
    return save_classifier(out, loaded.model, metadata)


def _report(source: Path) -> dict[str, Any]:
    """What a run reported at its end; nothing for a checkpoint, which may be another step."""
    try:
        report = json.loads((source / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}
