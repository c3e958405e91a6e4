"""Libraries that come with an extra: import one, or say in one way which extra brings it."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

from kouji.errors import UsageError


def import_library(
    module: str, purpose: str, *, extra: str = "gpt-sovits", package: str | None = None
) -> Any:
    """Import an optional library.

    purpose: what needs it, in words that begin a sentence
    extra:   of Kouji, that installs it
    package: its name where that differs from the module's
    raises:  `missing_library` where it is absent or does not load

    Warnings while it is imported are silenced: the caller can do nothing about them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        library = package or module.partition(".")[0]
        raise missing_library(library, purpose, error, extra=extra) from error


def missing_library(
    library: str, purpose: str, error: ImportError, *, extra: str = "gpt-sovits"
) -> UsageError:
    """The error for a machine without a library."""
    return UsageError(
        f"{purpose} needs the optional library {library}",
        seen=error,
        cure=f"run: pip install 'kouji[{extra}]'",
    )
