"""What a classifier says of a sound: probabilities over time and as a whole. Plain data.

Library, command line, server and studio all show these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HeardWindow:
    """One window of a sound: from `start` to `end` in seconds, with (classes,) probabilities."""

    start: float
    end: float
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Classification:
    """What is heard in one sound.

    labels:        names of the classes
    probabilities: (classes,) of the whole sound, summing to 1
    windows:       the same over time, in order
    seconds:       duration of the sound
    """

    labels: tuple[str, ...]
    probabilities: NDArray[np.float32]
    windows: tuple[HeardWindow, ...]
    seconds: float
    warnings: tuple[str, ...] = ()

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The likeliest classes, best first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.labels[place], float(self.probabilities[place])) for place in order]

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.top(1)[0][0]

    def as_dict(self, count: int = 5) -> dict[str, Any]:
        """The JSON form, with the `count` likeliest classes of the whole and of each window."""
        return {
            "label": self.label,
            "probabilities": _rounded(self.top(count)),
            "windows": [
                {
                    "start": round(window.start, 3),
                    "end": round(window.end, 3),
                    "probabilities": _rounded(
                        Classification(self.labels, window.probabilities, (), 0.0).top(count)
                    ),
                }
                for window in self.windows
            ],
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def _rounded(pairs: list[tuple[str, float]]) -> dict[str, float]:
    return {label: round(value, 4) for label, value in pairs}
