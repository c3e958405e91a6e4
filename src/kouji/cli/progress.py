"""A progress bar on stderr where somebody watches, nothing where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, is_wanted: bool = True) -> Iterator[Callable[[int], None]]:
    """A function to call with each advance; draws only if stderr is a terminal."""
    if not is_wanted or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = ("speaking", BarColumn(), TaskProgressColumn(), "left", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("speaking", total=total)
        yield lambda amount: progress.advance(task, amount)
