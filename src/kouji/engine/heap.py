"""Hands memory that was freed back to the system, where the C library keeps it for later.

glibc keeps freed tensors for the next ones of their size. After a burst of mixed lengths that
may be some hundred MB nobody uses; given back in a quiet moment, resident memory of a server
says what it holds. Other C libraries are left alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def trim_heap() -> bool:
    """Give back what is free; some milliseconds. False where that is not known to be possible."""
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    found: Callable[[int], int] = trim
    return found
