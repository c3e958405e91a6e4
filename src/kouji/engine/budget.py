"""How many rows can be decoded at once: measured memory, less a reserve, in seats.

A seat is one preallocated slot of the KV cache. Memory is measured after the weights are
loaded, so what they take is gone already. Knows sizes, not models.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kouji.engine.cgroups import read_group_limits
from kouji.errors import ConfigError

RESERVE_SHARE = 0.25  # of free memory, for activations, kept prompts and voices to come
MIN_RESERVE = 512 << 20
# More rows than these make each slower without more speech in all: on 2 cores a decode step of
# 16 rows costs 1.8 times one of 1; a large card is busy from about 128 rows on.
USEFUL_SEATS = {"cpu": 16, "mps": 16, "cuda": 128}


class Memory(NamedTuple):
    """Bytes that exist for this process, and bytes it can still get."""

    total: int
    available: int


@dataclass(frozen=True)
class Seats:
    """How many rows, how long they may become, and why in words for the log."""

    count: int
    num_positions: int
    reason: str


def read_memory(root: Path = Path("/")) -> Memory:
    """Main memory of this machine or of the container we are in, whichever is less.

    root: of the file system, for tests
    """
    total, available = _machine_memory(root)
    limits = read_group_limits(root)
    return Memory(
        min(total, limits.memory_total or total),
        min(available, available if limits.memory_free is None else limits.memory_free),
    )


def plan_seats(
    memory: Memory,
    slot_bytes: int,
    num_positions: int,
    *,
    kind: str = "cpu",
    max_seats: int = 0,
    memory_bytes: int = 0,
    spoken_for: int = 0,
) -> Seats:
    """Divide memory into seats.

    memory:        of the device, as measured now
    slot_bytes:    of one seat with `num_positions` positions
    kind:          cpu, cuda or mps
    max_seats:     the operator's cap; 0 leaves it to memory and to what is useful
    memory_bytes:  the operator's size of all seats together; 0 measures
    spoken_for:    bytes still to be taken by others, for instance weights not yet loaded
    raises:        ConfigError if not even one seat fits
    """
    reserve = max(MIN_RESERVE, int(memory.available * RESERVE_SHARE)) + spoken_for
    room = memory_bytes or memory.available - reserve
    if room < slot_bytes and not memory_bytes and memory.available - spoken_for >= 2 * slot_bytes:
        room = slot_bytes  # a small machine speaks one at a time rather than not at all
    fitting = max(0, room) // slot_bytes
    wanted = max_seats or USEFUL_SEATS.get(kind, USEFUL_SEATS["cpu"])
    if fitting < 1:
        raise _too_little(memory, slot_bytes, num_positions, memory_bytes)
    count = min(fitting, wanted)
    size = f"{_words(slot_bytes)} a seat of {num_positions} positions"
    source = "granted" if memory_bytes else f"of {_words(memory.available)} free"
    if count < wanted:
        limit = f"memory holds no more ({_words(room)} {source})"
    elif max_seats:
        limit = "the setting says so"
    else:
        limit = f"more would not make {kind} faster"
    return Seats(count, num_positions, f"{count} seats, {size}: {limit}")


def _too_little(
    memory: Memory, slot_bytes: int, num_positions: int, memory_bytes: int
) -> ConfigError:
    seen = _words(memory_bytes) if memory_bytes else f"{_words(memory.available)} free"
    cure = "allow fewer positions" + (", or more memory" if memory_bytes else ", or free memory")
    return ConfigError(
        "the memory does not hold one seat",
        seen=seen,
        allowed=f"at least {_words(slot_bytes)} for {num_positions} positions, and a reserve",
        cure=cure,
    )


def _machine_memory(root: Path) -> tuple[int, int]:
    try:
        text = (root / "proc/meminfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = ""
    found = {name: int(kib) << 10 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    total = found.get("MemTotal") or _installed_memory()
    # Where the system does not say, half of it may be in use.
    return total, found.get("MemAvailable", total // 2)


def _installed_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # AttributeError: Windows has no sysconf
        return 4 << 30


def _words(num_bytes: int) -> str:
    if num_bytes >= 1 << 30:
        return f"{num_bytes / (1 << 30):.1f} GiB"
    return f"{num_bytes / (1 << 20):.0f} MiB"
