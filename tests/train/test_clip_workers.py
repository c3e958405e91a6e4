"""Parts worked off by processes: results, errors and deaths come back, nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kouji.errors import AudioError, DataError, UsageError
from kouji.train.clip_workers import check_jobs, run_parts, usable_cores


def square(number: int) -> tuple[int, int]:
    print("what is printed does not spoil the answers")
    return number * number, os.getpid()


def refuse(number: int) -> int:
    if number == 3:
        raise AudioError("the third is bad", seen=number)
    return number


def die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_every_part_is_done_once(jobs: int) -> None:
    done = dict(run_parts(square, [1, 2, 3, 4, 5], jobs))
    assert {place: answer for place, (answer, _) in done.items()} == {
        0: 1, 1: 4, 2: 9, 3: 16, 4: 25
    }  # fmt: skip
    own = {pid for _, pid in done.values()} - {os.getpid()}
    assert (len(own) == 0) == (jobs == 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_comes_back_as_it_is(jobs: int) -> None:
    with pytest.raises(AudioError, match=r"the third is bad \(seen: 3\)"):
        list(run_parts(refuse, [1, 2, 3, 4], jobs))


def test_a_death_is_told() -> None:
    with pytest.raises(DataError, match="worker process died"):
        list(run_parts(die, [1, 2, 3, 4], 2))


def test_a_script_without_a_guard_and_without_a_file_may_use_it() -> None:
    code = "from operator import neg\nfrom kouji.train.clip_workers import run_parts\n"
    code += "print(sorted(run_parts(neg, [1, 2, 3], 2)))"
    shown = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.strip() == "[(0, -1), (1, -2), (2, -3)]"


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1])\n"
    code += "from time import sleep\nfrom kouji.train.clip_workers import run_parts\n"
    code += "for _ in run_parts(sleep, [0, 60, 60], 2):\n print('on', flush=True); input()"
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"on\n"
        children = _children(parent.pid)
        parent.kill()
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def test_a_worker_that_comes_after_its_parent_died_ends_at_once() -> None:
    code = "from kouji.train.orphans import end_with_parent; end_with_parent(2**22)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGTERM


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()


def test_jobs_are_checked() -> None:
    assert check_jobs(0) == usable_cores() >= 1
    assert check_jobs(3) == 3
    with pytest.raises(UsageError, match="seen: -1"):
        check_jobs(-1)
