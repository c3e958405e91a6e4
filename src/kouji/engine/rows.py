"""A request inside the engine, and its segments: everything that changes while it is worked on.

Ending a request is dropping its `LiveJob`: tokens, caches of the renderer and samples nobody
heard hang on it and on nothing else. Slots are given back by whoever took them (`decoding`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from kouji.engine.guard import Verdict, Watch, least_bad
from kouji.engine.jobs import Job, Phase, Row
from kouji.engine.request import EngineChunk, EngineRequest, SegmentOutcome, segment_seed
from kouji.engine.ticket import Channel
from kouji.models.stages import Decoder, Prompt, RenderRow, Script, Turn


@dataclass
class Attempt:
    """Tokens drawn with one seed.

    tokens:  those that make sound
    history: all; the same list, unless a script makes tokens that steer
    """

    watch: Watch
    tokens: list[int] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)
    history: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.history = self.tokens

    def add(self, token: int, *, is_sound: bool = True) -> None:
        """Write a token down."""
        self.history.append(token)
        if is_sound and self.history is not self.tokens:
            self.tokens.append(token)

    @property
    def spoken(self) -> list[int]:
        """The tokens worth hearing: those before the fault, if it has a place."""
        if self.verdict.is_fault and self.verdict.num_good > 0:
            return self.tokens[: self.verdict.num_good]
        return self.tokens


@dataclass
class Seat:
    """What a row has while it decodes.

    num_positions: of the slot
    max_tokens:   as many fit into the slot behind the prompt, or the fewer the prompt allows
    length:       positions written
    first_logits: (1, vocabulary) what prefill said; another attempt draws from it again
    turn:         what the script wants, if there is one
    """

    slot: int
    prompt: Prompt
    num_positions: int
    max_tokens: int
    length: int = 0
    first_logits: Tensor | None = None
    turn: Turn | None = None

    @property
    def next_position(self) -> int:
        """Position id of what is written next."""
        return self.prompt.next_position + self.length - self.prompt.num_positions


class SegmentRow(Row):
    """One segment: first its seat and tokens, then its renderer and samples.

    seat:         None before and after decoding
    num_fed:      tokens the renderer has been given
    is_committed: the renderer had enough of an attempt to make sound before the attempt was
                  complete, so this attempt will be heard
    held:         samples made, and not handed over while segments before it are heard
    notes:        what its outcome tells besides faults
    """

    job: LiveJob

    def __init__(self, job: LiveJob, index: int) -> None:
        super().__init__(job, index)
        self.seed = segment_seed(job.request.seed, index)
        self.seat: Seat | None = None
        self.attempts: list[Attempt] = []
        self.render: RenderRow | None = None
        self.num_fed = 0
        self.held: list[NDArray[np.float32]] = []
        self.num_samples = 0
        self.is_committed = False
        self.notes: list[str] = []

    @property
    def script(self) -> Script | None:
        """What its text is read from while it is still being written; only while it decodes."""
        return None if self.seat is None else self.seat.prompt.script

    def give_up(self) -> None:
        """Wait for no more text."""
        self.is_parked = False
        if (script := self.script) is not None:
            self.notes.append("the text stopped coming, and was taken for ended")
            script.give_up()

    def wake(self) -> None:
        """Its text has news; from any thread."""
        self.is_parked = False
        self.job.wake()

    @property
    def decoder(self) -> Decoder:
        """What makes its tokens; only rows of families with that stage have one."""
        decoder = self.job.request.model.decoder
        assert decoder is not None
        return decoder

    @property
    def has_news(self) -> bool:
        """Its renderer may be given tokens: a stream always, a whole segment when complete."""
        return self.phase is Phase.RENDER or self.job.is_streamed

    @property
    def seated(self) -> Seat:
        """Its seat, which it has."""
        assert self.seat is not None
        return self.seat

    @property
    def attempt(self) -> Attempt:
        """The one being drawn."""
        return self.attempts[-1]

    @property
    def is_last(self) -> bool:
        """It ends the text."""
        return self.index + 1 == self.job.num_segments

    @property
    def heard_attempt(self) -> Attempt:
        """The attempt to speak: the one that is being heard, else the least damaged."""
        if self.is_committed:
            return self.attempt
        return self.attempts[least_bad([attempt.verdict for attempt in self.attempts])]

    def forget_sound(self) -> None:
        """Begin rendering anew; no sound was made yet."""
        assert not self.is_committed
        assert self.num_samples == 0
        self.render, self.num_fed = None, 0

    @property
    def info(self) -> Any:
        """The family's facts about the segment."""
        return None if self.render is None else self.render.info

    def outcome(self) -> SegmentOutcome:
        """The report of a finished segment."""
        outcome = SegmentOutcome(
            self.index,
            num_samples=self.num_samples,
            warnings=tuple(self.notes),
            info=self.info,
        )
        if not self.attempts:
            return outcome
        attempt = self.heard_attempt
        reason = attempt.verdict.reason
        return replace(
            outcome,
            num_tokens=max(len(attempt.spoken), self.num_fed),
            retries=len(self.attempts) - 1,
            warnings=outcome.warnings if reason is None else (*outcome.warnings, reason),
        )


class LiveJob(Job):
    """A request between submission and its one end."""

    rows: list[SegmentRow]  # type: ignore[assignment]

    def __init__(
        self,
        request: EngineRequest,
        channel: Channel,
        *,
        arrived: float,
        buffer_seconds: float,
        on_end: Callable[[], None] | None = None,
        wake: Callable[[], None] | None = None,
    ) -> None:
        """Take a request in.

        arrived:        on the engine's clock
        buffer_seconds: unread sound after which nothing more is rendered
        on_end:         called once, when nothing is computed for it any more
        wake:           tells the engine that text has come; reentrant, from any thread
        """
        decoder, renderer = request.model.decoder, request.model.renderer
        allowed = request.deadline_seconds
        super().__init__(
            request.client,
            len(request.segments),
            # Both stages may bear one name: rows without the first must not begin with others.
            lane=f"render {renderer.identity}" if decoder is None else decoder.identity,
            render_lane=renderer.identity,
            pool=None if decoder is None else decoder.cache_key,
            is_streamed=request.render.is_streamed,
            is_background=request.is_background,
            is_exact=request.is_exact,
            vocode_rows=renderer.vocode_rows,
            packs_rows=renderer.packs_rows,
            deadline=None if allowed is None else arrived + allowed,
        )
        self.request, self.channel, self.arrived = request, channel, arrived
        self.on_end, self.wake = on_end or _do_nothing, wake or _do_nothing
        self._buffer_seconds = buffer_seconds

    @property
    def is_cancelled(self) -> bool:
        return self.channel.is_cancelled

    @property
    def is_full(self) -> bool:
        return self.channel.unread_seconds >= self._buffer_seconds

    def may_render(self, row: Row) -> bool:
        """The segment being heard needs room at the reader, later ones room beside the others."""
        if row is self.rows[0]:
            return not self.is_full
        held = sum(len(samples) for other in self.rows[1:] for samples in other.held)
        seconds = held / self.request.model.renderer.sample_rate
        return self.channel.unread_seconds + seconds < self._buffer_seconds

    def make_row(self, index: int) -> SegmentRow:
        return SegmentRow(self, index)

    @property
    def has_sound(self) -> bool:
        """Something can be handed over."""
        return bool(self.rows) and (bool(self.rows[0].held) or self.rows[0].phase is Phase.DONE)

    def deliver(self) -> bool:
        """Hand over what can be heard now, in order.

        returns: sound was handed over
        """
        has_delivered = False
        while self.rows:
            row = self.rows[0]
            has_delivered |= any(len(samples) for samples in row.held)
            self._hand_over(row)
            if row.phase is not Phase.DONE:
                break
            self.close_row()
        return has_delivered

    def _hand_over(self, row: SegmentRow) -> None:
        is_done = row.phase is Phase.DONE
        pieces = row.held
        if is_done and not pieces:
            pieces = [np.zeros(0, np.float32)]
        for number, samples in enumerate(pieces, start=1):
            is_end = is_done and number == len(pieces)
            outcome = row.outcome() if is_end else None
            self.channel.put(EngineChunk(row.index, samples, is_end, outcome, row.info))
        row.held = []


def _do_nothing() -> None:
    pass
