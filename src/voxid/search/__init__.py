"""Exact cosine search among up to a million voiceprints, in memory (docs/search.md)."""

from voxid.search.index import Hits, Index

__all__ = ["Hits", "Index"]
