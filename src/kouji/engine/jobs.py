"""A request and its segments as the scheduler sees them: plain objects, no tensors, no clock.

Whoever computes tells the scheduler what became of a row by its `phase` and its costs. What a
family and a decoder need is added in subclasses (`rows`), so that ending a request is dropping
one object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

NO_LIMIT = 1 << 30  # rows, where only the settings bound a batch


class Phase(Enum):
    """Where a row is on its way."""

    BEGIN = "begin"  # admitted, nothing computed
    DECODE = "decode"
    RENDER = "render"  # all tokens made, its seat given back
    DONE = "done"  # all samples made; waits for the segments before it to be heard


class Row:
    """One segment of a job.

    acoustic_cost, vocode_cost: frames of its next piece in that stage; 0: nothing is ready
    is_midway:   its next call goes on with what the last one began
    ready_since: when the costs last became what they are
    is_parked:   it decodes, and waits for text; any thread may end that
    parked_since: when it was parked last
    """

    def __init__(self, job: Job, index: int) -> None:
        self.job, self.index = job, index
        self.phase = Phase.BEGIN
        self.acoustic_cost = self.vocode_cost = 0
        self.is_midway = False
        self.ready_since = 0.0
        self.is_parked, self.parked_since = False, 0.0

    @property
    def is_seated(self) -> bool:
        """The row occupies a seat of its pool."""
        return self.job.pool is not None and self.phase in (Phase.BEGIN, Phase.DECODE)

    @property
    def is_decoding(self) -> bool:
        """There is a step to be computed."""
        return self.phase is Phase.DECODE and not self.is_parked

    @property
    def is_ready(self) -> bool:
        """There is something to render, and room for it at the reader's side."""
        return (self.acoustic_cost > 0 or self.vocode_cost > 0) and self.job.may_render(self)


class Job:
    """A request; `rows` are its live segments in order, the first of them being heard.

    lane:     whose rows begin and step together: the weights of the first stage
    render_lane: whose rows are rendered together
    pool:     whose seats its rows take; None for a family without decode stage
    is_streamed: somebody listens while it is made
    is_background: nobody waits for it; whatever is not goes first
    is_exact: each of its rows is computed alone
    vocode_rows: rows worth vocoding together with its own
    packs_rows: its rows need no others of like length in the acoustic stage
    deadline: on the scheduler's clock
    """

    def __init__(
        self,
        client: str,
        num_segments: int,
        *,
        lane: str,
        render_lane: str,
        pool: str | None,
        is_streamed: bool = False,
        is_background: bool = False,
        is_exact: bool = False,
        vocode_rows: int = NO_LIMIT,
        packs_rows: bool = False,
        deadline: float | None = None,
    ) -> None:
        self.client, self.num_segments = client, num_segments
        self.lane, self.render_lane, self.pool, self.deadline = lane, render_lane, pool, deadline
        self.vocode_rows, self.packs_rows = vocode_rows, packs_rows
        self.order = -1  # of arrival; set when it is added
        self.rows: list[Row] = []
        self.num_admitted = self.num_delivered = 0
        self.is_streamed, self.is_background = is_streamed, is_background
        self.is_exact = is_exact
        self.has_spoken = False

    @property
    def is_in_haste(self) -> bool:
        """Somebody listens already, and has heard nothing yet."""
        return self.is_streamed and not self.has_spoken

    @property
    def is_cancelled(self) -> bool:
        """The caller has left."""
        return False

    @property
    def is_full(self) -> bool:
        """The caller reads slower than we speak: begin no further segment."""
        return False

    def may_render(self, row: Row) -> bool:
        """There is room for what rendering this row would add."""
        assert row.job is self
        return not self.is_full

    def make_row(self, index: int) -> Row:
        """The state of a segment; subclasses keep more in it."""
        return Row(self, index)

    def open_row(self) -> Row:
        """Admit the next segment."""
        row = self.make_row(self.num_admitted)
        self.num_admitted += 1
        self.rows.append(row)
        return row

    def close_row(self) -> None:
        """The segment being heard has been handed over whole."""
        row = self.rows.pop(0)
        assert row.index == self.num_delivered, "segments are handed over in order"
        self.num_delivered += 1

    @property
    def is_finished(self) -> bool:
        """Every segment has been handed over."""
        return self.num_delivered == self.num_segments


@dataclass(frozen=True)
class Action:
    """One batch for the device; all its rows share a lane.

    kind: begin (prefill, or open a row of a family without decode stage), step, acoustic, vocode
    """

    kind: str
    rows: tuple[Row, ...]

    @property
    def is_exact(self) -> bool:
        """Its one row is to be the same bits each time."""
        return self.rows[0].job.is_exact
