"""Watches the loss: names steps that are not finite or run away, and decides when to stop.

Knows numbers and paths; skipping the update of a non-finite step is the optimiser's part.
"""

from __future__ import annotations

import math
from collections import deque

from kouji.errors import TrainingError
from kouji.train.settings import RunSettings

_MEDIAN_STEPS = 200
_NONFINITE_WINDOW_STEPS = 100


class LossGuard:
    """Judges the losses of a run in order; raises TrainingError when it has to stop."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._losses: deque[float] = deque(maxlen=_MEDIAN_STEPS)
        self._nonfinite: deque[int] = deque()
        self._high_steps = 0

    @property
    def is_diverging(self) -> bool:
        """Whether the last step counted as diverged: no moment to call a checkpoint good."""
        return self._high_steps > 0

    def judge(self, step: int, loss: float, is_finite: bool, clips: str) -> bool:
        """Whether the step counts as taken; `clips` names what was in it."""
        if not is_finite:
            self._count_nonfinite(step, loss, clips)
            return False
        run = self._settings
        self._high_steps = self._high_steps + 1 if loss > self._limit() else 0
        if self._high_steps >= run.divergence_patience:
            raise TrainingError(
                f"the loss diverged at step {step}",
                seen=f"{loss:.4g} after {self._high_steps} steps above {self._limit():.4g}",
                allowed=f"{run.divergence_factor:g} x the running median",
            )
        if not self._high_steps:
            self._losses.append(loss)
        return True

    def _limit(self) -> float:
        """The loss above which a step counts as diverged; a loss may be negative (likelihoods)."""
        if len(self._losses) < 20:
            return math.inf
        ordered = sorted(self._losses)
        quarter = len(ordered) // 4
        median, spread = ordered[2 * quarter], ordered[3 * quarter] - ordered[quarter]
        return median + (self._settings.divergence_factor - 1) * max(abs(median), spread)

    def _count_nonfinite(self, step: int, loss: float, clips: str) -> None:
        self._nonfinite.append(step)
        while self._nonfinite[0] <= step - _NONFINITE_WINDOW_STEPS:
            self._nonfinite.popleft()
        limit = self._settings.nonfinite_limit
        if len(self._nonfinite) > limit:
            raise TrainingError(
                f"loss or gradient is not finite at step {step}",
                seen=f"loss {loss}, {len(self._nonfinite)} such steps of the last "
                f"{_NONFINITE_WINDOW_STEPS}, clips {clips}",
                allowed=f"{limit} (nonfinite_limit)",
            )
