"""The evaluation extras: import one, or say plainly which extra to install.

The product itself never needs them; each measure names the library it stands on.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from types import ModuleType

from kouji.errors import UsageError


def import_extra(module: str, purpose: str) -> ModuleType:
    """Import an optional library.

    Warnings during the import are silenced: Resemblyzer pulls webrtcvad, which warns
    about `pkg_resources`, and the caller can do nothing about it.
    Raises UsageError with the cure when the library is missing or does not load.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"{purpose} needs the optional library {module.split('.')[0]}",
            seen=str(error),
            cure='run: pip install "kouji[eval]"',
        ) from error


def require_extra(module: str, purpose: str) -> None:
    """Raise the same error as `import_extra` if a library is absent, without importing it."""
    if importlib.util.find_spec(module) is None:
        import_extra(module, purpose)
