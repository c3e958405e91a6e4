"""Lists as OpenAI's clients page through them: `after` an id, at most `limit` objects."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Query

from kouji.errors import UsageError
from kouji.voices.consent import moment_of

After = Annotated[str | None, Query(max_length=200, description="The last id of the page before.")]
Limit = Annotated[int, Query(ge=1, le=1000)]


class HasId(Protocol):
    """What can stand in a list."""

    id: str


Item = TypeVar("Item", bound=HasId)


def page(items: Sequence[Item], after: str | None, limit: int) -> dict[str, Any]:
    """The objects after an id.

    raises: UsageError if there is no such object
    """
    start = 0
    if after is not None:
        places = [place for place, item in enumerate(items) if item.id == after]
        if not places:
            raise UsageError("no object of this id to go on after", seen=after)
        start = places[0] + 1
    shown = items[start : start + limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": start + limit < len(items),
    }


def unix_seconds(time: str) -> int:
    """A moment of ours as the number clients expect; 0 where none is known."""
    try:
        moment: datetime = moment_of(time)
    except ValueError:
        return 0
    return int(moment.timestamp())
