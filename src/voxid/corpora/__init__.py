"""A corpus on disk -> its utterances. Nothing is decoded here, so scanning is cheap and takes no memory."""

from voxid.corpora.scanning import LAYOUTS, Scan, scan

__all__ = ["LAYOUTS", "Scan", "scan"]
