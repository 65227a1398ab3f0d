"""voxid tells who is speaking: train a speaker encoder from scratch, measure it honestly, put it to work.

Importing voxid is cheap: no torch, no numpy, nothing read from disk. Names load on first use. It does one
thing: it switches the telemetry of onnxruntime off.
"""

from __future__ import annotations

import os as _os
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# onnxruntime reads this when it is imported: without it, its Linux wheel writes a device id under the user's
# cache folder and looks up its maker's host. Every module of voxid imports this file first, and processes
# that voxid starts inherit the variable, so no path to onnxruntime can forget it.
_os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from voxid import audio as audio
    from voxid import errors as errors
    from voxid import metrics as metrics
    from voxid.embed import load as load
    from voxid.evaluation import calibrate as calibrate
    from voxid.evaluation import evaluate as evaluate
    from voxid.recognizer import Recognizer as Recognizer
    from voxid.recognizer import adapt as adapt
    from voxid.recognizer import compare as compare
    from voxid.training import train as train

# name -> the module that has it; a module of voxid itself is None
_LAZY = {
    "load": "voxid.embed",
    "compare": "voxid.recognizer",
    "Recognizer": "voxid.recognizer",
    "adapt": "voxid.recognizer",
    "train": "voxid.training",
    "evaluate": "voxid.evaluation",
    "calibrate": "voxid.evaluation",
    "audio": None,
    "errors": None,
    "metrics": None,
}

__all__ = [
    "Recognizer",
    "__version__",
    "adapt",
    "audio",
    "calibrate",
    "compare",
    "errors",
    "evaluate",
    "load",
    "metrics",
    "train",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for (PEP 562)."""
    from importlib import import_module

    if name not in _LAZY:
        from difflib import get_close_matches

        close = get_close_matches(name, _LAZY, n=1)
        meant = f" Did you mean {close[0]!r}?" if close and not name.startswith("_") else ""
        raise AttributeError(f"module 'voxid' has no attribute {name!r}.{meant}")
    module = _LAZY[name]
    return import_module(f"voxid.{name}") if module is None else getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)
