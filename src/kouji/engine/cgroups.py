"""What a container or service manager allows this process: memory and processor time.

Linux control groups, versions 1 and 2. A group inside others has the tightest of all their
limits. Only reads files; where there are none, or on another system, nothing is limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_MOUNT = "sys/fs/cgroup"


@dataclass(frozen=True)
class GroupLimits:
    """None where nothing is limited.

    memory_total: bytes all processes of the group may use together
    memory_free:  bytes they may still take; file cache that can be dropped counts as free
    cpus:         processors' worth of time, for instance 1.5
    """

    memory_total: int | None = None
    memory_free: int | None = None
    cpus: float | None = None


def read_group_limits(root: Path = Path("/")) -> GroupLimits:
    """The limits of this process's groups; never raises.

    root: of the file system, for tests
    """
    totals: list[int] = []
    free: list[int] = []
    cpus: list[float] = []
    for folder in _folders(root, "memory"):
        limit = _number(folder, "memory.max", "memory.limit_in_bytes")
        used = _number(folder, "memory.current", "memory.usage_in_bytes")
        if limit is not None and used is not None:
            totals.append(limit)
            free.append(max(0, limit - max(0, used - _droppable(folder))))
    for folder in _folders(root, "cpu"):
        quota = _quota(folder)
        if quota is not None:
            cpus.append(quota)
    return GroupLimits(min(totals, default=None), min(free, default=None), min(cpus, default=None))


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the groups we are in for a controller, inner ones first.

    Inside a container the path may be that of the host; then only the mount itself is there.
    """
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        base = root / _MOUNT / (controller if names else "")
        inner = PurePosixPath(path.lstrip("/"))
        for group in (inner, *inner.parents):
            yield base / group


def _number(folder: Path, *names: str) -> int | None:
    """The number in the first file there is; None for "max" and none."""
    for name in names:
        text = _read(folder / name).strip()
        if text.isdigit():
            # Version 1 writes "unlimited" as the largest multiple of a page in 63 bits.
            return int(text) if int(text) < 1 << 60 else None
    return None


def _droppable(folder: Path) -> int:
    """Bytes of cached files nobody used lately."""
    facts = dict(
        line.split(maxsplit=1) for line in _read(folder / "memory.stat").splitlines() if " " in line
    )
    found = facts.get("total_inactive_file", facts.get("inactive_file", "0"))
    return int(found) if found.isdigit() else 0


def _quota(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    if not words:
        words = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) == 2 and all(word.isdigit() and int(word) > 0 for word in words):
        return int(words[0]) / int(words[1])
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
