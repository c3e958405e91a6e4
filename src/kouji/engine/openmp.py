"""Makes waiting OpenMP threads sleep instead of spin, from inside and without the environment.

libgomp, which torch brings on Linux, decides when it is loaded: if it sees fewer cores than it
is later given threads, it takes itself for oversubscribed and spins for microseconds, not
milliseconds. So it is loaded by itself, under an affinity of one core that is lifted at once;
torch then finds it loaded. LLVM's and Intel's OpenMP can be told at any time. Costs a third of
the speed on cores of one's own and saves a factor of 30 on shared ones (see `threads`); the
command line calls it where other programs keep cores busy.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

_SOFTLY = 1  # omp_pause_soft: settings stay, threads end
_LLVM = ("libomp", "libiomp5")


class Calm(NamedTuple):
    """Whether waiting threads sleep now, and what was done or why not."""

    is_calm: bool
    reason: str


def calm_openmp(folder: Path | None = None) -> Calm:
    """Let waiting threads sleep; before the first import of torch, else it is too late on Linux.

    folder: with torch's libraries; None finds it without importing torch
    """
    folder = folder or _torch_libraries()
    libraries = sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []
    for library in libraries:
        if library.name.startswith(_LLVM):
            return _calm_llvm(library)
    for library in libraries:
        if library.name.startswith("libgomp"):
            return _calm_gnu(library)
    return Calm(False, "torch brings no OpenMP library Kouji knows")


def release_team() -> None:
    """End the OpenMP threads that wait for the calling thread's next work, where there are some.

    libgomp counts them. With the team of a thread that encoded a voice or loaded weights still
    waiting beside the engine's, it holds the cores for oversubscribed and lets the engine's
    threads sleep at each of some 300 barriers a step: measured, steps and prefill took twice as
    long. The next work of the calling thread makes a new team, in about 0.1 ms.
    """
    pause = _pause()
    if pause is not None:
        pause(_SOFTLY)


@cache
def _pause() -> Callable[[int], int] | None:
    """`omp_pause_resource_all` of the OpenMP library that torch brought; only if it is loaded."""
    folder = _torch_libraries()
    if "torch" not in sys.modules or folder is None or not folder.is_dir():
        return None
    for library in sorted(folder.glob("libgomp*")):
        try:
            found: Callable[[int], int] = ctypes.CDLL(str(library)).omp_pause_resource_all
        except (OSError, AttributeError):
            continue
        return found
    return None


def _calm_llvm(library: Path) -> Calm:
    """Zero milliseconds between the end of the work and sleep."""
    try:
        ctypes.CDLL(str(library)).kmp_set_blocktime(0)
    except (OSError, AttributeError) as error:
        return Calm(False, f"{library.name} cannot be told: {error}")
    return Calm(True, f"{library.name} was told")


def _calm_gnu(library: Path) -> Calm:
    if "torch" in sys.modules:
        return Calm(False, f"{library.name} is loaded already: call this before importing torch")
    if not hasattr(os, "sched_setaffinity"):
        return Calm(False, "this system has no affinity")
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        try:
            ctypes.CDLL(str(library))
        finally:
            os.sched_setaffinity(0, cores)
    except OSError as error:
        return Calm(False, f"{library.name} could not be loaded first: {error}")
    return Calm(True, f"{library.name} was loaded as for one core")


def _torch_libraries() -> Path | None:
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "lib"
