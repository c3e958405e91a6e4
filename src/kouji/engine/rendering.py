"""The acoustic and vocode stages of rows: from tokens, or straight from text, to samples.

Whole requests give their renderer all tokens at the end. Streamed ones give them as they come,
but for the newest few: a fault shows only after some tokens, and what was heard cannot be
taken back. Knows nothing of turns and nothing of who listens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.engine.attempts import Failures
from kouji.engine.isolation import Isolation
from kouji.engine.jobs import Phase
from kouji.engine.rows import SegmentRow
from kouji.engine.settings import EngineSettings
from kouji.errors import EngineFailed
from kouji.models.stages import RenderRow


class Rendering:
    """Runs rows of any renderer, one batch of one renderer at a time."""

    def __init__(
        self, isolation: Isolation, settings: EngineSettings, clock: Callable[[], float]
    ) -> None:
        self._isolation, self._settings, self._clock = isolation, settings, clock

    def begin(self, rows: Sequence[SegmentRow]) -> Failures:
        """Open rows of a family without decode stage."""
        failures: Failures = []
        for row, result in self._isolation.compute(rows, self._open_all):
            if isinstance(result, Exception):
                failures.append((row, result))
                continue
            row.render, row.phase = result, Phase.RENDER
            self._refresh(row, failures)
        return failures

    def feed(self, rows: Sequence[SegmentRow]) -> Failures:
        """Give renderers the tokens made since; the rest of them once a row is complete."""
        failures: Failures = []
        for row in rows:
            [(_, error)] = self._isolation.compute([row], self._feed)
            if error is not None:
                failures.append((row, error))
            else:
                self._refresh(row, failures)
        return failures

    def acoustic(self, rows: Sequence[SegmentRow]) -> Failures:
        """One piece further in rows of one renderer."""
        failures: Failures = []
        for row, error in self._isolation.compute(rows, self._acoustic):
            if error is not None:
                failures.append((row, error))
            else:
                self._refresh(row, failures, has_advanced=True)
        return failures

    def vocode(self, rows: Sequence[SegmentRow]) -> Failures:
        """The next samples of rows of one renderer, into `row.held`."""
        failures: Failures = []
        for row, samples in self._isolation.compute(rows, self._vocode):
            if isinstance(samples, Exception):
                failures.append((row, samples))
            elif not np.isfinite(samples).all():
                is_sound = row.job.request.is_sound
                what = (
                    "vocoder gave no finite samples"
                    if is_sound
                    else "network gave no finite figures"
                )
                failures.append((row, EngineFailed(f"the {what}")))
            else:
                row.held.append(samples)
                row.num_samples += len(samples)
                self._refresh(row, failures, has_advanced=True)
        return failures

    def _open(self, row: SegmentRow) -> RenderRow:
        request = row.job.request
        return request.model.renderer.open(
            request.segments[row.index],
            request.voice,
            replace(request.render, is_exact=request.is_exact),
            row.seed,
            is_last=row.is_last,
        )

    def _open_all(self, rows: Sequence[SegmentRow]) -> list[RenderRow]:
        return [self._open(row) for row in rows]

    def _feed(self, rows: Sequence[SegmentRow]) -> list[None]:
        [row] = rows
        is_final = row.phase is Phase.RENDER
        if is_final and row.heard_attempt is not row.attempt:
            row.forget_sound()  # it was given tokens that are not to be heard
        tokens = self._heard_tokens(row)
        if is_final and not tokens:
            row.phase = Phase.DONE  # the decoder had nothing to say; the outcome warns of it
        elif is_final or len(tokens) > row.num_fed:
            row.render = row.render or self._open(row)
            row.render.feed(tokens, is_final=is_final)
            row.num_fed = len(tokens)
        return [None]

    def _heard_tokens(self, row: SegmentRow) -> list[int]:
        """The tokens the renderer may know by now."""
        if row.phase is Phase.RENDER:
            tokens = row.heard_attempt.spoken
            # A fault may begin before tokens that were given out already; those stay.
            return row.attempt.tokens[: row.num_fed] if len(tokens) < row.num_fed else tokens
        if not row.job.is_streamed:
            return []
        return row.attempt.tokens[: max(0, len(row.attempt.tokens) - self._withheld(row))]

    def _withheld(self, row: SegmentRow) -> int:
        """How many of the newest tokens a renderer is not given yet."""
        if not row.job.request.guard.is_on or row.script is not None:
            return 0  # nothing could be undone
        settings = self._settings
        seconds = settings.guard_seconds_later if row.index else settings.guard_seconds
        return round(seconds * row.decoder.token_rate_hz)

    def _acoustic(self, rows: Sequence[SegmentRow]) -> list[None]:
        rows[0].job.request.model.renderer.acoustic(_renders(rows))
        return [None] * len(rows)

    def _vocode(self, rows: Sequence[SegmentRow]) -> list[NDArray[np.float32]]:
        return rows[0].job.request.model.renderer.vocode(_renders(rows))

    def _refresh(self, row: SegmentRow, failures: Failures, *, has_advanced: bool = False) -> None:
        """Bring the costs of a row up to date, and its phase if it is done."""
        if row.render is None:
            return
        if has_advanced or not (row.acoustic_cost or row.vocode_cost):
            row.ready_since = self._clock()
        row.acoustic_cost, row.vocode_cost = row.render.acoustic_cost, row.render.vocode_cost
        row.is_midway = row.render.is_midway
        if row.phase is Phase.DECODE:
            row.is_committed |= row.acoustic_cost > 0 or row.vocode_cost > 0
        if row.phase is not Phase.RENDER:
            return
        if row.render.is_done:
            row.phase, row.acoustic_cost, row.vocode_cost = Phase.DONE, 0, 0
        elif not (row.acoustic_cost or row.vocode_cost):
            failures.append((row, EngineFailed("the renderer has neither sound nor work left")))


def _renders(rows: Sequence[SegmentRow]) -> list[Any]:
    return [row.render for row in rows]
