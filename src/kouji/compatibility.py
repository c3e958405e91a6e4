"""Which driver a CUDA build of torch needs, and what each generation of GPUs computes.

Tables as remembered from NVIDIA's release notes, which could not be opened when they were
written (the notes decide where they differ), and the questions the doctor asks of them.
"""

from __future__ import annotations

from typing import NamedTuple

from kouji.machine import Gpu


class CudaRelease(NamedTuple):
    """A CUDA version: its own Linux driver and the oldest driver of its major family.

    A program built for any CUDA 12.x runs on the family's oldest driver (NVIDIA's minor
    version compatibility); the release's own driver is the advised one.
    """

    cuda: str
    family_driver: str
    own_driver: str
    oldest_capability: tuple[int, int]


# From NVIDIA's CUDA release notes (drivers for Linux) and toolkit support lists.
CUDA_RELEASES = (
    CudaRelease("11.8", "450.80.02", "520.61.05", (3, 5)),
    CudaRelease("12.1", "525.60.13", "530.30.02", (5, 0)),
    CudaRelease("12.4", "525.60.13", "550.54.14", (5, 0)),
    CudaRelease("12.6", "525.60.13", "560.28.03", (5, 0)),
    CudaRelease("12.8", "525.60.13", "570.26", (5, 0)),
    CudaRelease("12.9", "525.60.13", "575.51.03", (5, 0)),
    CudaRelease("13.0", "580.65.06", "580.65.06", (7, 5)),
)

# Compute capability -> generation and what it computes well.
GPU_GENERATIONS = (
    ((6, 0), "Pascal", "float32"),
    ((7, 0), "Volta", "float32, float16"),
    ((7, 5), "Turing", "float32, float16, int8"),
    ((8, 0), "Ampere", "float32, float16, bfloat16, int8"),
    ((8, 9), "Ada", "float32, float16, bfloat16, float8, int8"),
    ((9, 0), "Hopper", "float32, float16, bfloat16, float8, int8"),
    ((10, 0), "Blackwell", "float32, float16, bfloat16, float8, float4, int8"),
)


def newest_cuda_for(driver: str) -> str | None:
    """The newest CUDA version of the table whose programs this driver can run."""
    usable = [
        release.cuda
        for release in CUDA_RELEASES
        if numbers(driver) >= numbers(release.family_driver)
    ]
    return usable[-1] if usable else None


def find_release(cuda: str | None) -> CudaRelease | None:
    """The table's release of the same major version, the newest not newer than `cuda`."""
    if cuda is None:
        return None
    wanted = numbers(cuda)
    same = [release for release in CUDA_RELEASES if numbers(release.cuda)[:1] == wanted[:1]]
    fitting = [release for release in same if numbers(release.cuda) <= wanted]
    return fitting[-1] if fitting else (same[0] if same else None)


def describe_gpu(gpu: Gpu) -> str:
    """Generation, compute capability and number formats of a card."""
    if gpu.capability is None:
        return "compute capability unknown"
    known = [row for row in GPU_GENERATIONS if row[0] <= gpu.capability]
    name, formats = known[-1][1:] if known else ("older than Pascal", "float32")
    return f"{name} {dotted(gpu.capability)}: {formats}"


def read_arch(arch: str) -> tuple[int, int]:
    """Turn "sm_86", "sm_90a" or "compute_120" into (8, 6), (9, 0) or (12, 0)."""
    digits = "".join(sign for sign in arch.partition("_")[2] if sign.isdigit())
    return (int(digits[:-1]), int(digits[-1])) if len(digits) > 1 else (0, 0)


def numbers(version: str) -> tuple[int, ...]:
    """Compare versions as numbers: 525.60.13 < 580.65; unknown text is older than all."""
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def dotted(parts: tuple[int, ...]) -> str:
    """Write a version: (8, 6) is 8.6."""
    return ".".join(map(str, parts))
