"""The evaluation extras: import one, or say plainly which extra to install.

The product itself never needs them; each measure names the library it stands on.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from kouji.models.optional import import_library


def import_extra(module: str, purpose: str) -> Any:
    """Import a library of the extra `eval`; raises UsageError with the cure where it is missing."""
    return import_library(module, purpose, extra="eval")


def require_extra(module: str, purpose: str) -> None:
    """Raise the same error as `import_extra` if a library is absent, without importing it."""
    if importlib.util.find_spec(module) is None:
        import_extra(module, purpose)
