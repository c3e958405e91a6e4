"""Work on many parts in several processes: each with one thread, ended with its parent.

Processes, since much of the work on a clip is Python; threads inside each would only fight over
the same cores. They are plain children that read parts from a pipe: those of `multiprocessing`
run the caller's script once more, which a script without a guard does not survive. Knows nothing
of what is computed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, TypeVar

from kouji.errors import DataError, UsageError
from kouji.train.orphans import end_with_parent

T = TypeVar("T")
R = TypeVar("R")
_LEAVE_SECONDS = 60.0  # a worker may take so long over its last part when all is over
# Libraries read how many threads they may use when they are loaded: in a child it is one.
_CODE = (
    "import os, pickle, sys; "
    "os.environ.update(dict.fromkeys("
    "('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'), '1')); "
    "sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from kouji.train.clip_workers import serve; serve()"
)


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

    work:   a function of an importable module
    jobs:   0: one per core; 1: here, in this process
    raises: what `work` raised, and DataError where a process died
    """
    num_workers = min(check_jobs(jobs), len(parts))
    if num_workers <= 1:
        yield from ((place, work(part)) for place, part in enumerate(parts))
        return
    left: queue.SimpleQueue[int] = queue.SimpleQueue()
    for place in range(len(parts)):
        left.put(place)
    answers: queue.SimpleQueue[tuple[int, bool, Any]] = queue.SimpleQueue()
    workers = [_Worker() for _ in range(num_workers)]
    threads = [
        threading.Thread(target=_feed, args=(worker, work, parts, left, answers), daemon=True)
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in parts:
            place, is_good, answer = answers.get()
            if not is_good:
                raise answer
            yield place, answer
    finally:  # Ctrl-C too: nothing new is begun, and what is under way comes to its end
        while not left.empty():
            left.get()
        for worker in workers:
            worker.close()
        for thread in threads:
            thread.join(_LEAVE_SECONDS)


def _feed(
    worker: _Worker,
    work: Callable[[T], R],
    parts: Sequence[T],
    left: queue.SimpleQueue[int],
    answers: queue.SimpleQueue[tuple[int, bool, Any]],
) -> None:
    """Give a worker part after part; ends when none is left, or with the worker."""
    while True:
        try:
            place = left.get_nowait()
        except queue.Empty:
            return
        try:
            answers.put((place, *worker.ask(work, parts[place])))
        except (OSError, EOFError, ValueError, pickle.PickleError) as error:
            fault = DataError(
                "a worker process died, for lack of memory or on a broken file",
                seen=error or None,
                cure="run it again to go on, with fewer processes (--jobs)",
            )
            answers.put((place, False, fault))
            return


class _Worker:
    """A child that answers one question at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CODE, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: Any = self._process.stdin
        self._out: Any = self._process.stdout
        pickle.dump(sys.path, self._in)

    def ask(self, work: Callable[[T], R], part: T) -> tuple[bool, Any]:
        """(True, result), or (False, the error that was raised)."""
        pickle.dump((work, part), self._in)
        self._in.flush()
        is_good, answer = pickle.load(self._out)  # our own child
        return is_good, answer

    def close(self) -> None:
        """Let the child end after what it is doing."""
        with contextlib.suppress(OSError):  # it died with something unread
            self._in.close()
        try:
            self._process.wait(_LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()


def serve() -> None:
    """The life of a child: read a part, work, answer, until the pipe ends with the parent.

    What is printed goes to stderr, since stdout is the pipe. Ctrl-C is left to the parent.
    """
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(int(sys.argv[1]))
    answers: BinaryIO = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            work, part = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        keep_to_one_thread()
        try:
            answer = (True, work(part))
        except Exception as error:  # to be raised in the parent
            answer = (False, _portable(error))
        try:
            pickle.dump(answer, answers)
            answers.flush()
        except BrokenPipeError:
            os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error, or one like it where pickle cannot carry it."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class makes of being built again
        return DataError(f"a worker failed: {type(error).__name__}", seen=error)
    return error


def keep_to_one_thread() -> None:
    """Let torch, where this process has loaded it, compute in one thread."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
