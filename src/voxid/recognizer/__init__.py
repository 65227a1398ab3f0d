"""Enroll, verify, identify, compare: runtime + scoring + store. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxid.lazy import names
from voxid.recognizer.comparing import compare

if TYPE_CHECKING:
    from voxid.recognizer.adapting import Adapted, adapt
    from voxid.recognizer.people import People
    from voxid.recognizer.recognizer import Recognizer
    from voxid.recognizer.reembedding import Reembedded, kept_audio
    from voxid.recognizer.streaming import Stream

__all__ = ["Adapted", "People", "Recognizer", "Reembedded", "Stream", "adapt", "compare", "kept_audio"]

__getattr__ = names(
    __name__,
    {  # comparing two recordings needs neither stores nor search
        "Adapted": "voxid.recognizer.adapting",
        "adapt": "voxid.recognizer.adapting",
        "People": "voxid.recognizer.people",
        "Recognizer": "voxid.recognizer.recognizer",
        "Reembedded": "voxid.recognizer.reembedding",
        "kept_audio": "voxid.recognizer.reembedding",
        "Stream": "voxid.recognizer.streaming",
    },
)
