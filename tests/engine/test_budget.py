"""Seats out of memory: of machines and containers described by the files they would show."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kouji.engine.budget import MIN_RESERVE, USEFUL_SEATS, Memory, plan_seats, read_memory
from kouji.engine.cgroups import GroupLimits, read_group_limits
from kouji.errors import ConfigError

GIB, MIB = 1 << 30, 1 << 20


def write_files(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = f"MemTotal: {16 * MIB} kB\nMemFree: 1 kB\nMemAvailable: {8 * MIB} kB\n"
VERSION_1 = {
    "proc/self/cgroup": "9:name=systemd:/\n4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{20 * GIB}\n",
    "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": f"{4 * GIB}\n",
    "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": f"{3 * GIB}\n",
    "sys/fs/cgroup/memory/docker/abc/memory.stat": f"cache 5\ntotal_inactive_file {GIB}\n",
    "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
    "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
    "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
}
VERSION_2 = {
    "proc/self/cgroup": "0::/pod/box\n",
    "sys/fs/cgroup/pod/memory.max": f"{2 * GIB}\n",
    "sys/fs/cgroup/pod/memory.current": f"{GIB}\n",
    "sys/fs/cgroup/pod/cpu.max": "400000 100000\n",
    "sys/fs/cgroup/pod/box/memory.max": "max\n",
    "sys/fs/cgroup/pod/box/memory.current": f"{GIB}\n",
    "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
}
HOST_PATH = {  # version 2 in a container that sees its own group as the root
    "proc/self/cgroup": "0::/../../kubepods/x\n",
    "sys/fs/cgroup/memory.max": f"{3 * GIB}\n",
    "sys/fs/cgroup/memory.current": f"{GIB}\n",
    "sys/fs/cgroup/cpu.max": "50000 100000\n",
}


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, GroupLimits()),
        ({"proc/self/cgroup": "0::/\n"}, GroupLimits()),
        (VERSION_1, GroupLimits(4 * GIB, 2 * GIB, 1.5)),
        (VERSION_2, GroupLimits(2 * GIB, GIB, 4.0)),
        (HOST_PATH, GroupLimits(3 * GIB, 2 * GIB, 0.5)),
        ({**HOST_PATH, "sys/fs/cgroup/memory.max": "soon"}, GroupLimits(cpus=0.5)),
    ],
)
def test_limits_of_groups(tmp_path: Path, files: dict[str, str], limits: GroupLimits) -> None:
    write_files(tmp_path, files)
    assert read_group_limits(tmp_path) == limits


def test_memory_is_that_of_machine_or_container(tmp_path: Path) -> None:
    write_files(tmp_path, {"proc/meminfo": MEMINFO})
    assert read_memory(tmp_path) == Memory(16 * GIB, 8 * GIB)
    write_files(tmp_path, VERSION_1)
    assert read_memory(tmp_path) == Memory(4 * GIB, 2 * GIB)
    here = read_memory()
    assert 0 < here.available <= here.total


def test_memory_of_a_system_that_tells_little(tmp_path: Path) -> None:
    memory = read_memory(tmp_path)
    assert 0 < memory.available < memory.total


def test_memory_decides_how_many_sit() -> None:
    seats = plan_seats(Memory(8 * GIB, 4 * GIB), 400 * MIB, 2048)
    assert seats.count == 7
    assert seats.reason == (
        "7 seats, 400 MiB a seat of 2048 positions: memory holds no more (3.0 GiB of 4.0 GiB free)"
    )


def test_more_seats_than_are_useful_are_not_made() -> None:
    plenty = Memory(2048 * GIB, 1024 * GIB)
    for kind, useful in USEFUL_SEATS.items():
        assert plan_seats(plenty, MIB, 100, kind=kind).count == useful
    assert "would not make cuda faster" in plan_seats(plenty, MIB, 100, kind="cuda").reason


def test_a_setting_caps_and_may_ask_for_more_than_is_useful() -> None:
    plenty = Memory(2048 * GIB, 1024 * GIB)
    assert plan_seats(plenty, MIB, 100, max_seats=3).count == 3
    assert plan_seats(plenty, MIB, 100, max_seats=500).count == 500
    assert plan_seats(Memory(4 * GIB, 2 * GIB), GIB, 100, max_seats=500).count == 1


def test_a_setting_grants_memory() -> None:
    seats = plan_seats(Memory(4 * GIB, 2 * GIB), 300 * MIB, 100, memory_bytes=GIB)
    assert seats.count == 3
    assert "granted" in seats.reason
    with pytest.raises(ConfigError, match="seen: 100 MiB"):
        plan_seats(Memory(4 * GIB, 2 * GIB), 300 * MIB, 100, memory_bytes=100 * MIB)


def test_weights_to_come_are_left_room() -> None:
    memory = Memory(16 * GIB, 8 * GIB)
    assert plan_seats(memory, GIB, 100).count == 6
    assert plan_seats(memory, GIB, 100, spoken_for=3 * GIB).count == 3


def test_a_small_machine_has_one_seat_and_a_tiny_one_a_clear_error() -> None:
    assert plan_seats(Memory(GIB, 500 * MIB), 200 * MIB, 100).count == 1
    with pytest.raises(ConfigError, match="does not hold one seat") as caught:
        plan_seats(Memory(GIB, 300 * MIB), 200 * MIB, 100)
    assert "300 MiB free" in str(caught.value)
    assert "at least 200 MiB for 100 positions" in str(caught.value)


@given(st.integers(1, 64 * GIB), st.integers(1, 2 * GIB), st.integers(0, 300))
def test_seats_never_take_what_is_not_there(free: int, slot: int, cap: int) -> None:
    try:
        seats = plan_seats(Memory(64 * GIB, free), slot, 100, max_seats=cap)
    except ConfigError:
        assert free < max(MIN_RESERVE + slot, 2 * slot) or free * 0.75 < slot
        return
    assert seats.count >= 1
    assert seats.count * slot <= free
    assert not cap or seats.count <= cap
