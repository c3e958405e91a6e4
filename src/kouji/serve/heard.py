"""What was heard in a sound as the plain values answers are made of. Knows no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.classification import Classification, HeardWindow

USUAL_CLASSES = 5  # told where nobody asks for more


def ranked(
    labels: Sequence[str], probabilities: NDArray[np.float32], count: int
) -> list[dict[str, Any]]:
    """The `count` likeliest classes with their probabilities, the likeliest first."""
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [
        {"label": labels[place], "probability": round(float(probabilities[place]), 6)}
        for place in order
    ]


def window_values(labels: Sequence[str], window: HeardWindow, count: int) -> dict[str, Any]:
    """One window: its place in seconds, and its likeliest classes."""
    return {
        "start": round(window.start, 4),
        "end": round(window.end, 4),
        "probabilities": ranked(labels, window.probabilities, count),
    }


def whole_values(found: Classification, model: str, count: int) -> dict[str, Any]:
    """A whole sound without its windows."""
    return {
        "object": "audio.classification",
        "model": model,
        "label": found.label,
        "probabilities": ranked(found.labels, found.probabilities, count),
        "duration": round(found.seconds, 4),
        "warnings": list(found.warnings),
    }


def windows_values(found: Classification, count: int) -> list[dict[str, Any]]:
    """All windows in order."""
    return [window_values(found.labels, window, count) for window in found.windows]
