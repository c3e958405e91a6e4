"""A call that fails leaves its rows as they were, so that it may be made again with fewer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def unmoved_on_failure(states: Sequence[Any]) -> Iterator[None]:
    """Give the states their attributes back where the block raises.

    states: plain objects whose tensors are replaced and never written to; their lists are copied
    """
    before = [_attributes(state) for state in states]
    try:
        yield
    except BaseException:
        for state, attributes in zip(states, before, strict=True):
            vars(state).update(attributes)
        raise


def _attributes(state: Any) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, list) else value
        for name, value in vars(state).items()
    }
