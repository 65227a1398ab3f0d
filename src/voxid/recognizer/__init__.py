"""Enrol, verify, identify, compare: runtime + scoring + store. No torch."""

from voxid.recognizer.comparing import compare
from voxid.recognizer.recognizer import Recognizer
from voxid.recognizer.reembedding import Reembedded

__all__ = ["Recognizer", "Reembedded", "compare"]
