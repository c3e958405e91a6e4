"""From logits to tokens: draws of all rows at once, and what the guard makes of them.

A segment in which the model went astray is decoded again with another seed, as long as no
sound can have been made of it; of several bad attempts the least damaged is spoken, up to its
fault. Whether sound can have been made is a matter of token counts, never of time, so that
company changes nothing.
A second attempt costs no prefill: the prompt still lies in the row's slot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.engine.guard import Verdict, Watch, retry_seed
from kouji.engine.isolation import Isolation
from kouji.engine.jobs import Phase
from kouji.engine.pools import Pools
from kouji.engine.rows import Attempt, SegmentRow
from kouji.errors import EngineFailed

Failures = list[tuple[SegmentRow, Exception]]


class _Draw(NamedTuple):
    """What one row drew; see `sampler.Drawn`."""

    token: int
    is_end: bool
    is_bad: bool


class Attempts:
    """Draws tokens and ends attempts."""

    def __init__(self, pools: Pools, isolation: Isolation) -> None:
        self._pools, self._isolation = pools, isolation
        self.num_tokens = 0
        self.num_retries = 0
        self.num_faults = 0  # segments spoken with a warning

    def begin(self, row: SegmentRow) -> None:
        """Start drawing a row, from its first token, with the seed of its next attempt."""
        decoder, request, seat = row.decoder, row.job.request, row.seated
        watch = Watch(
            seat.prompt,
            silent_tokens=decoder.silent_tokens,
            token_rate_hz=decoder.token_rate_hz,
            options=request.guard,
        )
        seed = retry_seed(row.seed, len(row.attempts))
        row.attempts.append(attempt := Attempt(watch))
        seat.length, seat.turn = seat.prompt.num_positions, None
        if row.script is not None:
            attempt.history = []
        self._pools.sampler(decoder).begin(seat.slot, request.sampling, seed, seat.prompt.history)

    def draw(self, rows: Sequence[SegmentRow], logits: Sequence[Tensor]) -> Failures:
        """Draw a token in every row; rows the guard sends back draw their first again at once.

        rows:    of one decoder
        logits:  (1, vocabulary) float32 each
        returns: rows that failed; rows that are complete are in phase RENDER
        """
        failures: Failures = []
        todo = list(zip(rows, logits, strict=True))
        while todo:
            again: list[tuple[SegmentRow, Tensor]] = []
            for (row, _), drawn in self._isolation.compute(todo, self._draw):
                if isinstance(drawn, Exception):
                    failures.append((row, drawn))
                elif drawn.is_bad:
                    failures.append((row, EngineFailed("the decoder gave no finite numbers")))
                elif self._take(row, drawn):
                    first = row.seated.first_logits
                    assert first is not None
                    again.append((row, first))
            todo = again
        return failures

    def _draw(self, todo: Sequence[tuple[SegmentRow, Tensor]]) -> list[_Draw]:
        rows = [row for row, _ in todo]
        decoder = rows[0].decoder
        turns = [row.seated.turn for row in rows]
        drawn = self._pools.sampler(decoder).draw(
            torch.cat([logits for _, logits in todo]) if len(todo) > 1 else todo[0][1],
            [row.seated.slot for row in rows],
            [len(row.attempt.history) for row in rows],
            min_tokens=[row.seated.prompt.min_tokens for row in rows],
            eos=decoder.eos,
            stops_on_argmax=decoder.stops_on_argmax,
            drawn_before=[row.attempt.history for row in rows],
            allowed=[None if turn is None else turn.allowed_ids for turn in turns],
        )
        return [_Draw(*each) for each in zip(*drawn, strict=True)]

    def _take(self, row: SegmentRow, drawn: _Draw) -> bool:
        """Write a token down; returns True if the row begins again with another seed."""
        attempt, script = row.attempt, row.script
        is_faulty = False
        if drawn.is_end and script is not None and script.steers(drawn.token):
            attempt.add(drawn.token, is_sound=False)
            return False
        if not drawn.is_end:
            attempt.add(drawn.token)
            self.num_tokens += 1
            is_faulty = attempt.watch.push(drawn.token) is not None
        if not (drawn.is_end or is_faulty or len(attempt.tokens) >= row.seated.max_tokens):
            return False
        return self.end(row, eos_reached=drawn.is_end)

    def force(self, row: SegmentRow, token: int) -> None:
        """Take a token that a script wants without a draw; it may end the row."""
        if row.script is not None and row.script.steers(token):
            row.attempt.add(token, is_sound=False)
        else:
            self._take(row, _Draw(token, token >= row.decoder.eos, is_bad=False))

    def end(self, row: SegmentRow, *, eos_reached: bool) -> bool:
        """No more tokens in this attempt; returns True if the row begins again."""
        attempt = row.attempt
        attempt.verdict = self._judge(row, eos_reached=eos_reached)
        if attempt.verdict.is_fault and self._may_retry(row):
            self.num_retries += 1
            row.forget_sound()
            self.begin(row)
            return True
        self.num_faults += row.heard_attempt.verdict.is_fault
        if row.script is not None:
            row.script.give_up()  # whoever writes on is told that nobody reads
        self._pools.release(row)
        row.phase = Phase.RENDER
        return False

    @staticmethod
    def _judge(row: SegmentRow, *, eos_reached: bool) -> Verdict:
        attempt, guard = row.attempt, row.job.request.guard
        if guard.is_on or eos_reached:
            return attempt.watch.finish(eos_reached=eos_reached)
        count = len(attempt.tokens)
        return Verdict(f"was cut after {count} tokens, the most it may have", num_good=count)

    @staticmethod
    def _may_retry(row: SegmentRow) -> bool:
        """Text that is still being written is spoken once: its script does not begin again."""
        guard = row.job.request.guard
        has_retries = guard.is_on and len(row.attempts) <= guard.max_retries
        return has_retries and not row.is_committed and row.script is None
