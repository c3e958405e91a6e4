"""How many CPU threads compute, now and while other programs come and go.

Threads of one product wait for each other some 300 times per decode step. If another program
holds a core, all of them wait for the one that lost it, and torch's OpenMP makes it worse by
spinning: on 2 cores shared with other work a step took 793 ms with 2 spinning threads, 26 ms
with 2 that sleep (`calm_openmp`), 16 ms with 1; on the same cores left alone 6.8, 9.9 and
11.5 ms. So threads spin, and `Governor` takes threads away while cores are contested.

The environment is read in `config` only and written nowhere, so OMP_WAIT_POLICY stays the
operator's; `advise` says when to set it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kouji.engine.cgroups import read_group_limits

SHORT_LOAD_SECONDS = 60.0  # what the first load average is taken over
LOOK_SECONDS = 1.0  # between two looks at the machine
CONTESTED = 0.25  # seconds our threads wait for a core, per second
IDLE = 0.9  # cores nobody uses: room for one thread more
CALM_LOOKS = 5  # as many looks in a row find idle cores before a thread is added


@dataclass(frozen=True)
class ThreadChoice:
    """How many threads to compute with, and why.

    most:     never more than these; the operator's number, or the cores we may use
    is_fixed: the operator chose; nothing is to change it
    """

    count: int
    most: int
    reason: str
    is_fixed: bool = False


class CpuUse(NamedTuple):
    """Seconds since some moment: our threads ready but waiting for a core; cores idle."""

    waited: float
    idle: float


def usable_cores(root: Path = Path("/")) -> int:
    """Cores this process may use: affinity, and the quota of its control group.

    root: of the file system, for tests
    """
    cores = len(_own_cores()) or 1
    quota = read_group_limits(root).cpus
    # Half a core more lets one of the threads be stopped halfway, for which the others wait.
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def choose_threads(wanted: int = 0, *, root: Path = Path("/")) -> ThreadChoice:
    """Decide with how many threads to begin.

    wanted: the operator's number; 0 leaves as many cores to others as they keep busy
    """
    cores = usable_cores(root)
    if wanted > 0:
        return ThreadChoice(wanted, wanted, f"{wanted} threads: the setting says so", is_fixed=True)
    busy = round(foreign_load(root))
    count = max(1, cores - busy)
    words = f"{count} of {cores} usable cores"
    if count < cores:
        words += f": other programs keep {busy} busy"
    return ThreadChoice(count, cores, words)


def choose_for_engine(wanted: int, allowed: int) -> ThreadChoice:
    """`choose_threads` within what torch was given (by its caller, or OMP_NUM_THREADS).

    allowed: threads torch may use now
    """
    choice = choose_threads(wanted)
    if wanted > 0 or allowed >= choice.most:
        return choice
    words = f"{choice.reason}; torch was given {allowed}"
    return ThreadChoice(min(choice.count, allowed), allowed, words)


def foreign_load(root: Path = Path("/")) -> float:
    """Cores' worth of work other programs wanted in the last minute; 0 where it is unknown."""
    try:
        load = float((root / "proc/loadavg").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    age = max(SHORT_LOAD_SECONDS, time.time() - _started_at())
    return max(0.0, load - time.process_time() / age)


def read_cpu_use(root: Path = Path("/")) -> CpuUse | None:
    """The counters `Governor` lives on; None where the system does not keep them.

    root: of the file system, for tests
    """
    waited, found = 0, False
    for file in (root / "proc/self/task").glob("*/schedstat"):
        try:
            waited += int(file.read_text().split()[1])
        except (OSError, ValueError, IndexError):  # the thread ended meanwhile
            continue
        found = True
    idle = _idle_seconds(root)
    return CpuUse(waited / 1e9, idle) if found and idle is not None else None


class Governor:
    """Takes threads away while cores are contested, gives them back when they are idle.

    Owned by the thread that computes: torch keeps the number per thread.
    """

    def __init__(
        self,
        choice: ThreadChoice,
        *,
        apply: Callable[[int], None] | None = None,
        look: Callable[[], CpuUse | None] = read_cpu_use,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the number to begin with.

        apply: sets the number of threads; None is torch's
        """
        self._apply = apply or _set_torch_threads
        self._choice, self._look, self._clock = choice, look, clock
        self.count = self._applied = choice.count
        self._apply(self.count)
        self._seen, self._seen_at = None if choice.is_fixed else look(), clock()
        self._num_calm = 0

    def tick(self) -> int:
        """Look at the machine once a second at most; call it between batches.

        returns: the number of threads from now on
        """
        now = self._clock()
        seconds = now - self._seen_at
        if self._seen is None or seconds < LOOK_SECONDS:
            return self.count
        before, self._seen, self._seen_at = self._seen, self._look(), now
        if self._seen is not None:
            waited = max(0.0, self._seen.waited - before.waited) / seconds
            idle = max(0.0, self._seen.idle - before.idle) / seconds
            self._change(self._wanted(waited, idle))
        return self.count

    def hold(self, *, is_exact: bool) -> None:
        """Before a batch; an exact one has the same number of threads whatever others do.

        More threads add up in another order. That is the operator's number, else one: the
        cores of today may be busy tomorrow.
        """
        fixed = self._choice.count if self._choice.is_fixed else 1
        wanted = fixed if is_exact else self.count
        if wanted != self._applied:
            self._applied = wanted
            self._apply(wanted)

    def _wanted(self, waited: float, idle: float) -> int:
        """How many threads the last second speaks for; both per second."""
        if waited > CONTESTED:
            self._num_calm = 0
            return max(1, self.count - math.ceil(waited))
        self._num_calm = self._num_calm + 1 if idle >= IDLE else 0
        if self._num_calm < CALM_LOOKS:
            return self.count
        self._num_calm = 0
        return min(self._choice.most, self.count + max(1, int(idle)))

    def _change(self, count: int) -> None:
        if count != self.count:
            self.count = self._applied = count
            self._apply(count)


def advise(*, root: Path = Path("/")) -> str:
    """One line for the operator: threads, and whether waiting ones should sleep."""
    choice = choose_threads(root=root)
    words = f"CPU threads: {choice.reason}"
    if choice.count == choice.most:
        return words
    return (
        f"{words}. Where other programs stay, start Kouji with OMP_WAIT_POLICY=passive, so that "
        "waiting threads sleep instead of spinning, or give it cores of its own"
    )


def _set_torch_threads(count: int) -> None:
    import torch

    torch.set_num_threads(count)


def _own_cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _idle_seconds(root: Path) -> float | None:
    """Seconds the cores we may use had nothing to do, added up."""
    try:
        lines = (root / "proc/stat").read_text().splitlines()
        ticks = os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    own = {f"cpu{core}" for core in _own_cores()}
    rows = [line.split() for line in lines]
    idle = [int(row[4]) + int(row[5]) for row in rows if row and row[0] in own and len(row) > 5]
    return sum(idle) / ticks if idle else None


def _started_at() -> float:
    """When this process began, as a time of day; now where it is unknown."""
    try:
        return Path("/proc/self").stat().st_ctime
    except OSError:
        return time.time()
