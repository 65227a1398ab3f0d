"""Enroll, verify, identify, compare: runtime + scoring + store. No torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from voxid.recognizer.comparing import compare

if TYPE_CHECKING:
    from voxid.recognizer.adapting import Adapted, adapt
    from voxid.recognizer.people import People
    from voxid.recognizer.recognizer import Recognizer
    from voxid.recognizer.reembedding import Reembedded, kept_audio

__all__ = ["Adapted", "People", "Recognizer", "Reembedded", "adapt", "compare", "kept_audio"]

_LAZY = {  # comparing two recordings needs neither stores nor search
    "Adapted": "voxid.recognizer.adapting",
    "adapt": "voxid.recognizer.adapting",
    "People": "voxid.recognizer.people",
    "Recognizer": "voxid.recognizer.recognizer",
    "Reembedded": "voxid.recognizer.reembedding",
    "kept_audio": "voxid.recognizer.reembedding",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module 'voxid.recognizer' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
