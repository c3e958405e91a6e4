"""Which rows are rendered together: of one lane and stage, of like length, after a bounded wait.

Padding a short row to a long one computes silence, so a batch spans a bounded ratio of lengths,
unless the renderer needs no padding; waiting for mates costs latency, so it ends after
`wait_seconds`, and a row that goes on with what its last call began does not wait at all.
Nothing here changes what a row sounds like, only when it is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from kouji.engine.jobs import Action, Row

T = TypeVar("T")

LIKE = 1.3  # longest over shortest row of a batch: at most 23 % of a row is padding
STAGES = ("vocode", "acoustic")  # the one nearer to the ear goes first among equals


class Rota(Generic[T]):
    """Serves the favoured before others, but every fourth time whoever waits longest."""

    IN_A_ROW = 3

    def __init__(self) -> None:
        self._served_in_a_row = 0

    def choose(
        self, items: Sequence[T], is_favoured: Callable[[T], bool], age: Callable[[T], Any]
    ) -> T:
        """The item to serve now; the smallest `age` goes first among equals."""
        favoured = [item for item in items if is_favoured(item)]
        if favoured and self._served_in_a_row < self.IN_A_ROW:
            self._served_in_a_row += 1
            return min(favoured, key=age)
        self._served_in_a_row = 0
        return min(items, key=age)


class Batcher:
    """Chooses render batches."""

    def __init__(self, max_rows: int, wait_seconds: float) -> None:
        self.max_rows, self.wait_seconds = max_rows, wait_seconds
        self._rota: Rota[list[Row]] = Rota()
        self._stage_of = {"vocode": _vocode_cost, "acoustic": _acoustic_cost}

    def pick(self, rows: Iterable[Row], now: float) -> tuple[Action | None, float | None]:
        """The batch to render now, if one is due, and else when one will be, if any row waits."""
        ready = [row for row in rows if row.is_ready]
        due: list[tuple[str, list[Row]]] = []
        wake_at = None
        for stage, mates in self._groups(ready):
            due_at = min(self._due_at(row) for row in mates)
            if len(mates) == self._limit(stage, mates[0]) or due_at <= now:
                due.append((stage, mates))
            else:
                wake_at = due_at if wake_at is None else min(wake_at, due_at)
        if not due:
            return None, wake_at
        best = max(_urgency(mates) for _, mates in due)
        mates = self._rota.choose(
            [mates for _, mates in due],
            lambda mates: best > 0 and _urgency(mates) == best,
            lambda mates: mates[0].ready_since,
        )
        stage = next(stage for stage, others in due if others is mates)
        return Action(stage, tuple(mates)), wake_at

    def _groups(self, ready: Sequence[Row]) -> Iterable[tuple[str, list[Row]]]:
        """For each stage and lane, the batch around a first chunk and around the oldest row.

        Pieces of streams are batched apart from whole segments: nobody listens to those yet.
        """
        for stage in STAGES:
            cost = self._stage_of[stage]
            lanes: dict[tuple[str, bool, int], list[Row]] = {}
            for row in ready:
                if cost(row):
                    own = id(row) if row.job.is_exact else 0
                    key = row.job.render_lane, row.job.is_streamed, own
                    lanes.setdefault(key, []).append(row)
            for rows in lanes.values():
                oldest = min(rows, key=self._due_at)
                awaited = [row for row in rows if row.job.is_in_haste]
                leaders = {id(row): row for row in (min(awaited, key=_age, default=oldest), oldest)}
                packs = stage == "acoustic" and oldest.job.packs_rows
                for leader in leaders.values():
                    limit = self._limit(stage, leader)
                    mates = _peers_first(leader, rows) if packs else _alike(leader, rows, cost)
                    yield stage, [leader, *(row for row in mates if row is not leader)][:limit]

    def _due_at(self, row: Row) -> float:
        return row.ready_since + (0.0 if row.is_midway else self.wait_seconds)

    def _limit(self, stage: str, row: Row) -> int:
        if row.job.is_exact:
            return 1
        is_vocode = stage == "vocode"
        return min(self.max_rows, row.job.vocode_rows) if is_vocode else self.max_rows


def _alike(leader: Row, rows: list[Row], cost: Callable[[Row], int]) -> list[Row]:
    """The rows nearest to the leader in length, of one bounded ratio."""
    batch, low, high = [leader], cost(leader), cost(leader)
    others = (row for row in rows if row is not leader)
    for row in sorted(others, key=lambda row: abs(cost(row) - cost(leader))):
        new_low, new_high = min(low, cost(row)), max(high, cost(row))
        if new_high <= LIKE * new_low:
            batch.append(row)
            low, high = new_low, new_high
    return batch


def _peers_first(leader: Row, rows: list[Row]) -> list[Row]:
    """Rows of any length: those whose listeners wait as the leader's do, then by age."""
    haste = leader.job.is_in_haste
    return sorted(rows, key=lambda row: (row.job.is_in_haste != haste, _age(row)))


def _vocode_cost(row: Row) -> int:
    return row.vocode_cost


def _acoustic_cost(row: Row) -> int:
    return row.acoustic_cost


def _age(row: Row) -> float:
    return row.ready_since


def _urgency(mates: list[Row]) -> int:
    """First sounds before the next piece of a stream, and that before what nobody hears yet."""
    job = mates[0].job
    return job.is_streamed + job.is_in_haste
