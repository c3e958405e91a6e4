"""What this machine is: processor, memory, graphics cards, libraries, weights.

Only reads and counts; what follows from the facts is the doctor's business. Every
fact is a field of a frozen record, so tests can describe machines they do not have.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SHIPPED_WEIGHTS = ("models/mini", "evaluate")  # rooms of the package that carry weights
NVIDIA_QUERY = "name,memory.total,driver_version,compute_cap"


@dataclass(frozen=True)
class Gpu:
    """A graphics card; `memory` in bytes, `capability` (major, minor) if known."""

    name: str
    memory: int
    capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class WeightsFile:
    """A safetensors file inside the package; `fault` says why it cannot be used."""

    name: str
    num_bytes: int
    fault: str | None = None


@dataclass(frozen=True)
class MachineFacts:
    """One machine as the doctor sees it; sizes in bytes, versions as text."""

    python: tuple[int, int, int] = (3, 11, 0)
    system: str = "Linux"
    architecture: str = "x86_64"
    torch: str | None = None
    torch_cuda: str | None = None  # CUDA version the wheel was built for
    torch_archs: tuple[str, ...] = ()  # for instance ("sm_75", "sm_80")
    is_cuda_usable: bool = False
    cpu_name: str = "unknown"
    cpu_flags: frozenset[str] = frozenset()
    cores: int = 1
    threads: int = 1
    driver: str | None = None
    gpus: tuple[Gpu, ...] = ()
    memory_total: int = 0
    memory_available: int = 0
    home: Path = Path()
    home_free: int = 0
    is_home_writable: bool = True
    libraries: dict[str, str] = field(default_factory=dict)  # installed distribution -> version
    weights: tuple[WeightsFile, ...] = ()


def read_machine(home: Path, library_names: tuple[str, ...]) -> MachineFacts:
    """Look at this machine; never raises, an unknown fact keeps its default.

    home:          KOUJI_HOME, which need not exist yet
    library_names: distributions to look for
    """
    driver, gpus = read_gpus()
    total, available = _memory()
    nearest = _nearest_existing(home)
    cpu_name, cores = read_processor()
    return MachineFacts(
        python=sys.version_info[:3],
        system=platform.system(),
        architecture=platform.machine(),
        **_torch_facts(),  # type: ignore[arg-type]
        cpu_name=cpu_name,
        cpu_flags=frozenset((_cpu_field("flags") or "").split()),
        cores=cores,
        driver=driver,
        gpus=gpus,
        memory_total=total,
        memory_available=available,
        home=home,
        home_free=shutil.disk_usage(nearest).free,
        is_home_writable=os.access(nearest, os.W_OK),
        libraries=_installed(library_names),
        weights=tuple(
            check_weights(path, Path(__file__).parent)
            for room in SHIPPED_WEIGHTS
            for path in sorted((Path(__file__).parent / room).rglob("*.safetensors"))
        ),
    )


def _torch_facts() -> dict[str, object]:
    try:
        import torch
    except (ImportError, OSError):  # OSError: a shared library of the wheel does not load
        return {}
    is_usable = torch.cuda.is_available()
    return {
        "torch": str(torch.__version__),
        "torch_cuda": torch.version.cuda,
        "torch_archs": tuple(torch.cuda.get_arch_list()) if is_usable else (),
        "is_cuda_usable": is_usable,
        "threads": torch.get_num_threads(),
    }


def read_gpus() -> tuple[str | None, tuple[Gpu, ...]]:
    """Ask nvidia-smi for the driver and the cards: works without a CUDA build of torch."""
    try:
        command = ["nvidia-smi", f"--query-gpu={NVIDIA_QUERY}", "--format=csv,noheader,nounits"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None, ()
    return parse_nvidia_smi(answer.stdout)


def parse_nvidia_smi(text: str) -> tuple[str | None, tuple[Gpu, ...]]:
    """Read lines `name, MiB, driver, capability`; lines of another shape are skipped."""
    driver, gpus = None, []
    for line in text.splitlines():
        fields = [part.strip() for part in line.split(",")]
        if len(fields) != 4:
            continue
        name, mebibytes, driver, capability = fields
        digits = re.fullmatch(r"(\d+)\.(\d+)", capability)
        gpus.append(
            Gpu(
                name,
                int(mebibytes) << 20 if mebibytes.isdigit() else 0,
                (int(digits[1]), int(digits[2])) if digits else None,
            )
        )
    return driver, tuple(gpus)


def check_weights(path: Path, root: Path) -> WeightsFile:
    """Read the header of a safetensors file and compare its promise with the file size."""
    name = path.relative_to(root).as_posix()
    try:
        num_bytes = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            if not 0 < header_bytes < num_bytes:
                return WeightsFile(name, num_bytes, "not a safetensors file")
            header = json.loads(file.read(header_bytes))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return WeightsFile(name, 0, str(error) or type(error).__name__)
    expected = 8 + header_bytes + max(ends, default=0)
    fault = None if num_bytes == expected else f"{num_bytes} bytes instead of {expected}"
    return WeightsFile(name, num_bytes, fault)


def _cpu_field(name: str) -> str | None:
    """A field of the first processor in /proc/cpuinfo; None where there is no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return None
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else None


def _memory() -> tuple[int, int]:
    """Total and available memory; available equals total where the system does not say."""
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # AttributeError: Windows has no sysconf
        return 0, 0
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return total, total
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return total, int(found[1]) * 1024 if found else total


def read_processor() -> tuple[str, int]:
    """Name of the processor and how many of its cores this process may use."""
    name = _cpu_field("model name") or platform.processor() or platform.machine()
    if hasattr(os, "sched_getaffinity"):
        return name, len(os.sched_getaffinity(0))
    return name, os.cpu_count() or 1


def _nearest_existing(path: Path) -> Path:
    """The path itself or the nearest parent that exists: where its first file would go."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def _installed(names: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
