"""Work on many clips in several processes: each with one thread, ended with its parent.

Processes, since much of the work on a clip is Python; threads inside each would only fight over
the same cores. Knows nothing of what is computed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from kouji.errors import DataError, UsageError

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_jobs(jobs: int) -> int:
    """How many processes to use: 0 means one per usable core."""
    if jobs < 0:
        raise UsageError("a negative number of processes", seen=jobs, allowed="0 or more")
    return jobs or usable_cores()


def run_parts(work: Callable[[T], R], parts: Sequence[T], jobs: int) -> Iterator[tuple[int, R]]:
    """Do `work` on each part in `jobs` processes; yields (place, result) as they are done.

    work: a function of a module, so that processes find it; jobs 0: one per core, 1: here
    """
    num_workers = min(check_jobs(jobs), len(parts))
    if num_workers <= 1:
        yield from ((place, work(part)) for place, part in enumerate(parts))
        return
    with ProcessPoolExecutor(num_workers, _context(), _start_worker) as pool:
        futures = {pool.submit(work, part): place for place, part in enumerate(parts)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process died, for lack of memory or on a broken file",
                cure="run it again to go on, with fewer processes (--jobs)",
            ) from error
        except BaseException:  # Ctrl-C too: do not start what nobody waits for
            pool.shutdown(cancel_futures=True)
            raise


def _context():  # type: ignore[no-untyped-def]
    """Never a plain fork: that of a process that runs torch's threads can deadlock the child."""
    import multiprocessing

    return multiprocessing.get_context("spawn")


def _start_worker() -> None:
    """One thread, and Ctrl-C left to the parent, which lets parts finish."""
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_to_one_thread()
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def keep_to_one_thread() -> None:
    """Let torch, where this process has loaded it, compute in one thread."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def _leave_with_parent() -> None:
    """End this worker when its parent is gone: killed, it cannot tell a pool to stop."""
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
