"""voxid tells who is speaking: train a speaker encoder from scratch, measure it honestly, put it to work.

Importing voxid is cheap: no torch, no numpy, nothing read from disk. Names load on first use. It does one
thing: it switches the telemetry of onnxruntime off.
"""

from __future__ import annotations

import os as _os
from typing import TYPE_CHECKING

from voxid.lazy import names as _names

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

__getattr__ = _names(
    __name__,
    {
        "load": "voxid.embed",
        "compare": "voxid.recognizer",
        "Recognizer": "voxid.recognizer",
        "adapt": "voxid.recognizer",
        "train": "voxid.training",
        "evaluate": "voxid.evaluation",
        "calibrate": "voxid.evaluation",
        "audio": "voxid.audio",
        "errors": "voxid.errors",
        "metrics": "voxid.metrics",
    },
)


def __dir__() -> list[str]:
    return sorted(__all__)
