"""Enrol, verify, identify, compare: runtime + scoring + store. No torch."""

from voxid.recognizer.comparing import compare
from voxid.recognizer.people import People
from voxid.recognizer.recognizer import Recognizer
from voxid.recognizer.reembedding import Reembedded, kept_audio

__all__ = ["People", "Recognizer", "Reembedded", "compare", "kept_audio"]
