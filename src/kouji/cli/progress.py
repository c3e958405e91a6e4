"""A progress bar on stderr where somebody watches, nothing where nobody does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def progress_bar(
    total: int, is_wanted: bool = True, doing: str = "speaking"
) -> Iterator[Callable[[int], None]]:
    """A function to call with each advance; draws only if stderr is a terminal."""
    if not is_wanted or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = (doing, BarColumn(), TaskProgressColumn(), "left", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(doing, total=total)
        yield lambda amount: progress.advance(task, amount)


class DownloadBar:
    """Tells how a pull gets on: a bar with speed where somebody watches, else a line a file."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._progress: Any = None
        self._task: Any = None

    def begin(self, num_bytes: int) -> None:
        """So many bytes are to come."""
        if not num_bytes or not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("", total=num_bytes)
        self._progress.start()

    def file(self, path: str) -> None:
        """This file is next."""
        if self._progress is None:
            self._tell(f"fetching {path}")
        else:
            self._progress.update(self._task, description=path.rpartition("/")[2][:32])

    def advance(self, num_bytes: int) -> None:
        """Bytes gained, or lost to a new start."""
        if self._progress is not None:
            self._progress.advance(self._task, num_bytes)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._progress is not None:
            self._progress.stop()
