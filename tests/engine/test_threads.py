"""Threads: chosen by cores, quota and load, governed by what the machine shows meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kouji.engine import threads
from kouji.engine.openmp import calm_openmp
from kouji.engine.threads import (
    CpuUse,
    Governor,
    ThreadChoice,
    advise,
    choose_threads,
    foreign_load,
    read_cpu_use,
    usable_cores,
)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_own_cores", lambda: set(range(8)))


def write_machine(root: Path, load: float, quota: str = "max") -> Path:
    """A file system that shows a load and a quota."""
    for name, text in {
        "proc/loadavg": f"{load} 0.0 0.0 1/100 1000\n",
        "proc/self/cgroup": "0::/\n",
        "sys/fs/cgroup/cpu.max": f"{quota} 100000\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "cores"), [("max", 8), ("350000", 3), ("50000", 1), ("9000000", 8)]
)
@pytest.mark.usefixtures("eight_cores")
def test_cores_are_those_of_affinity_and_quota(tmp_path: Path, quota: str, cores: int) -> None:
    assert usable_cores(write_machine(tmp_path, 0.0, quota)) == cores


@pytest.mark.parametrize(("load", "count"), [(0.0, 8), (3.0, 5), (7.0, 1), (40.0, 1)])
@pytest.mark.usefixtures("eight_cores")
def test_busy_cores_are_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: float, count: int
) -> None:
    monkeypatch.setattr("time.process_time", lambda: 0.0)
    choice = choose_threads(root=write_machine(tmp_path, load))
    assert (choice.count, choice.most, choice.is_fixed) == (count, 8, False)
    assert ("keep" in choice.reason) == (count < 8)
    assert ("OMP_WAIT_POLICY" in advise(root=tmp_path)) == (count < 8)


def test_the_operators_number_stands(tmp_path: Path) -> None:
    choice = choose_threads(3, root=write_machine(tmp_path, 40.0))
    assert (choice.count, choice.most, choice.is_fixed) == (3, 3, True)


def test_our_own_load_is_not_foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores kept busy by ourselves for an hour."""
    monkeypatch.setattr(threads, "_started_at", lambda: threads.time.time() - 3600)
    monkeypatch.setattr("time.process_time", lambda: 7200.0)
    assert foreign_load(write_machine(tmp_path, 2.0)) == pytest.approx(0.0, abs=0.01)
    assert foreign_load(write_machine(tmp_path, 5.0)) == pytest.approx(3.0, abs=0.01)


def test_unknown_load_counts_as_none(tmp_path: Path) -> None:
    assert foreign_load(tmp_path) == 0.0
    assert choose_threads(root=tmp_path).count == len(threads._own_cores())


class Machine:
    """Cores whose use a test decides, second by second."""

    def __init__(self) -> None:
        self.now, self.waited, self.idle = 0.0, 0.0, 0.0
        self.applied: list[int] = []

    def governor(self, choice: ThreadChoice) -> Governor:
        return Governor(
            choice,
            apply=self.applied.append,
            look=lambda: CpuUse(self.waited, self.idle),
            clock=lambda: self.now,
        )

    def spend(self, governor: Governor, waited: float, idle: float, seconds: int = 1) -> int:
        for _ in range(seconds):
            self.now += 1.0
            self.waited += waited
            self.idle += idle
            governor.tick()
        return governor.count


FOUR = ThreadChoice(4, 4, "four")


def test_contested_cores_are_left_at_once() -> None:
    machine = Machine()
    governor = machine.governor(FOUR)
    assert machine.spend(governor, waited=0.1, idle=0.0, seconds=20) == 4
    assert machine.spend(governor, waited=1.5, idle=0.0) == 2
    assert machine.spend(governor, waited=0.5, idle=0.0, seconds=9) == 1
    assert machine.applied == [4, 2, 1]


def test_idle_cores_are_taken_after_a_while_and_never_too_many() -> None:
    machine = Machine()
    governor = machine.governor(ThreadChoice(1, 4, "one"))
    assert machine.spend(governor, waited=0.0, idle=1.0, seconds=4) == 1
    assert machine.spend(governor, waited=0.0, idle=1.0) == 2
    assert machine.spend(governor, waited=0.0, idle=0.5, seconds=30) == 2
    assert machine.spend(governor, waited=0.0, idle=3.0, seconds=5) == 4
    assert machine.spend(governor, waited=0.0, idle=9.0, seconds=30) == 4
    assert machine.applied == [1, 2, 4]


def test_idle_moments_between_contested_ones_are_no_invitation() -> None:
    machine = Machine()
    governor = machine.governor(ThreadChoice(1, 4, "one"))
    for _ in range(10):
        machine.spend(governor, waited=0.0, idle=2.0, seconds=4)
        assert machine.spend(governor, waited=0.6, idle=0.0) == 1


def test_it_looks_once_a_second_only() -> None:
    machine = Machine()
    governor = machine.governor(FOUR)
    machine.waited = 100.0
    for _ in range(9):
        machine.now += 0.1
        assert governor.tick() == 4
    machine.now += 0.2
    assert governor.tick() == 1


@pytest.mark.parametrize(
    "choice", [ThreadChoice(4, 4, "fixed", is_fixed=True), ThreadChoice(4, 4, "blind")]
)
def test_fixed_or_blind_it_changes_nothing(choice: ThreadChoice) -> None:
    machine = Machine()
    governor = Governor(
        choice,
        apply=machine.applied.append,
        look=lambda: None if choice.reason == "blind" else CpuUse(machine.waited, 0.0),
        clock=lambda: machine.now,
    )
    assert machine.spend(governor, waited=3.0, idle=0.0, seconds=5) == 4
    assert machine.applied == [4]


def test_counters_of_this_machine() -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this system keeps no such counters")
    first, second = read_cpu_use(), read_cpu_use()
    assert first is not None
    assert second is not None
    assert 0 <= first.waited <= second.waited + 1
    assert 0 < first.idle <= second.idle


def test_counters_a_system_does_not_keep(tmp_path: Path) -> None:
    assert read_cpu_use(tmp_path) is None


def test_calm_comes_too_late_after_torch() -> None:
    calm = calm_openmp()
    if sys.platform == "linux":
        assert not calm.is_calm
        assert "before importing torch" in calm.reason


def test_folders_without_openmp_are_told(tmp_path: Path) -> None:
    assert not calm_openmp(tmp_path).is_calm
    assert not calm_openmp(tmp_path / "missing").is_calm
    (tmp_path / "libomp.dylib").write_text("no library")
    calm = calm_openmp(tmp_path)
    assert not calm.is_calm
    assert "libomp.dylib cannot be told" in calm.reason


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_calm_before_torch_leaves_cores_and_results_alone() -> None:
    code = """
import os
before = os.sched_getaffinity(0)
from kouji.engine.openmp import calm_openmp
calm = calm_openmp()
assert calm.is_calm, calm.reason
assert os.sched_getaffinity(0) == before
import torch
torch.set_num_threads(2)
assert float(torch.ones(400, 400).mm(torch.ones(400, 400)).sum()) == 400.0**3
loaded = {line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line}
assert len(loaded) == 1, loaded
print("fine", torch.get_num_threads())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["fine", "2"], result.stderr


def test_an_exact_batch_has_the_same_threads_whatever_others_do() -> None:
    applied: list[int] = []
    choice = ThreadChoice(4, 4, "four cores")
    governor = Governor(choice, apply=applied.append, look=lambda: None)
    governor.hold(is_exact=True)
    governor.hold(is_exact=True)
    governor.hold(is_exact=False)
    assert applied == [4, 1, 4]
    fixed = Governor(ThreadChoice(3, 3, "", is_fixed=True), apply=applied.append)
    fixed.hold(is_exact=True)
    assert applied == [4, 1, 4, 3]
