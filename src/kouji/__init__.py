"""Kouji speaks Chinese and English text in a voice it has heard for seconds, offline.

The names below are doors: importing this package imports no model, no torch and starts
nothing; the first use of a name imports the module behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kouji import errors
    from kouji.api import load
    from kouji.classification import Classification
    from kouji.classifying import load_classifier
    from kouji.text.style import Style
    from kouji.types import Audio, Speech, Timing
    from kouji.voices import Voice, VoiceStore

__version__ = "0.1.0"

_DOORS = {
    "Audio": "kouji.types",
    "Classification": "kouji.classification",
    "Speech": "kouji.types",
    "Style": "kouji.text.style",
    "Timing": "kouji.types",
    "Voice": "kouji.voices",
    "VoiceStore": "kouji.voices",
    "errors": "kouji.errors",
    "load": "kouji.api",
    "load_classifier": "kouji.classifying",
}

__all__ = [
    "Audio",
    "Classification",
    "Speech",
    "Style",
    "Timing",
    "Voice",
    "VoiceStore",
    "__version__",
    "errors",
    "load",
    "load_classifier",
]


def __getattr__(name: str) -> object:
    """Import the module behind a door at its first use (PEP 562)."""
    if name not in _DOORS:
        raise AttributeError(f"module 'kouji' has no attribute {name!r}")
    from importlib import import_module

    module = import_module(_DOORS[name])
    return module if name == "errors" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
